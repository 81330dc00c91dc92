//! Event types out of an `OpenAPI` document's `webhooks`, and such a document out of event types.
//!
//! JSON values here are other people's documents, of any shape.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::Api;
use super::caller::Caller;
use super::edit::check_name;
use super::error::ApiError;
use super::event_type::{EventTypeIn, upsert_all};
use super::reply::Reply;
use super::request::Request;
use super::task::{Start, start};
use crate::model::event_type::EventType;
use crate::model::limits::EVENT_TYPE_CHARS;
use crate::model::task::Work;

/// Event types one document may hold.
pub(super) const MOST: usize = 1_000;
/// Where a document keeps schemas that it names.
const COMPONENTS: &str = "#/components/schemas/";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImportIn {
    #[serde(default)]
    spec: Option<Map<String, Value>>,
    #[serde(default)]
    spec_raw: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    replace_all: bool,
}

impl ImportIn {
    fn document(self) -> Result<Map<String, Value>, ApiError> {
        let text = match (self.spec, self.spec_raw) {
            (Some(spec), None) => return Ok(spec),
            (None, Some(text)) => text,
            (Some(_), Some(_)) | (None, None) => {
                let message = "give the document in exactly one of spec and specRaw";
                return Err(ApiError::invalid("body", "spec", message));
            }
        };
        serde_json::from_str(&text).map_err(|err| {
            let message = format!("specRaw is not a JSON object (YAML is not read): {err}");
            ApiError::invalid("body", "specRaw", message)
        })
    }
}

/// An event type as a document describes it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    description: String,
    deprecated: bool,
    schemas: Option<Value>,
    feature_flags: Option<Vec<String>>,
    group_name: Option<String>,
}

#[derive(Debug, Serialize)]
struct ImportOut {
    data: ImportData,
}

/// The names are svix's, who writes the second in snake case.
#[derive(Debug, Serialize)]
struct ImportData {
    modified: Vec<String>,
    to_modify: Option<Vec<Described>>,
}

/// `POST /event-type/import/openapi`
pub(super) async fn import(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    let input: ImportIn = request.json()?;
    let (dry_run, replace_all) = (input.dry_run, input.replace_all);
    let described = described_in(&input.document()?)?;
    let types = described.iter().map(|d| Ok((d.name.clone(), input_of(d)?)));
    let types: Vec<(String, EventTypeIn)> = types.collect::<Result<_, ApiError>>()?;
    if dry_run {
        let data = ImportData { modified: Vec::new(), to_modify: Some(described) };
        return Ok(Reply::json(200, &ImportOut { data }));
    }
    let mut modified: Vec<String> = described.into_iter().map(|d| d.name).collect();
    upsert_all(api, caller.org, types).await?;
    if replace_all {
        modified.extend(super::event_type::archive_others(api, caller.org, &modified).await?);
    }
    Ok(Reply::json(200, &ImportOut { data: ImportData { modified, to_modify: None } }))
}

/// `POST /event-type/export/openapi`: a task that has ended; its data hold the document.
pub(super) async fn start_export(api: &Arc<Api>, request: &Request) -> Result<Reply, ApiError> {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    start(api, request, Start::of(caller.org, Work::ExportEventTypes)).await
}

fn input_of(described: &Described) -> Result<EventTypeIn, ApiError> {
    check_name("spec.webhooks", &described.name, EVENT_TYPE_CHARS)?;
    let schemas = described.schemas.as_ref().map(serde_json::value::to_raw_value).transpose();
    let input = EventTypeIn::described(
        described.description.clone(),
        described.deprecated,
        schemas.map_err(ApiError::internal)?,
        described.feature_flags.clone(),
        described.group_name.clone(),
    );
    input.check()?;
    Ok(input)
}

/// Every event type of a document.
fn described_in(document: &Map<String, Value>) -> Result<Vec<Described>, ApiError> {
    let invalid = |message: String| ApiError::invalid("body", "spec", message);
    let webhooks = document.get("webhooks").or_else(|| document.get("x-webhooks"));
    let Some(Value::Object(webhooks)) = webhooks else {
        return Err(invalid("the document has no `webhooks` object (OpenAPI 3.1)".to_owned()));
    };
    if webhooks.len() > MOST {
        return Err(invalid(format!(
            "the document has {} webhooks, at most {MOST} are taken",
            webhooks.len()
        )));
    }
    let one = |(name, item): (&String, &Value)| {
        let operation = item.get("post").filter(|op| op.is_object());
        let operation = operation
            .ok_or_else(|| invalid(format!("webhook {name:?} has no `post` operation")))?;
        Ok(describe(document, name, operation))
    };
    webhooks.iter().map(one).collect()
}

fn describe(document: &Map<String, Value>, name: &str, operation: &Value) -> Described {
    let text = |field: &str| operation.get(field).and_then(Value::as_str).map(str::to_owned);
    let flags = operation.get("x-svix-feature-flags").and_then(Value::as_array);
    let flags = flags.map(|flags| flags.iter().filter_map(Value::as_str).map(str::to_owned));
    Described {
        name: name.to_owned(),
        description: text("description").or_else(|| text("summary")).unwrap_or_default(),
        deprecated: operation.get("deprecated").and_then(Value::as_bool).unwrap_or(false),
        schemas: schema_of(document, operation).map(|schema| json!({ "1": schema })),
        feature_flags: flags.map(Iterator::collect).filter(|flags: &Vec<_>| !flags.is_empty()),
        group_name: text("x-svix-group-name"),
    }
}

/// The schema of an operation's JSON body, by itself: what it names of the document goes with it.
fn schema_of(document: &Map<String, Value>, operation: &Value) -> Option<Value> {
    let body = operation.get("requestBody")?;
    let body = match body.get("$ref").and_then(Value::as_str) {
        Some(name) => {
            let name = name.strip_prefix("#/components/requestBodies/")?;
            document.get("components")?.get("requestBodies")?.get(name)?
        }
        None => body,
    };
    let content = body.get("content")?.get("application/json")?;
    let mut schema = content.get("schema")?.clone();
    let components = document.get("components").and_then(|c| c.get("schemas"));
    bring_along(&mut schema, components);
    if let (Some(example), Some(fields)) = (content.get("example"), schema.as_object_mut()) {
        fields.entry("examples").or_insert_with(|| json!([example]));
    }
    Some(schema)
}

/// Moves the schemas that are named, and those that these name, into `$defs`.
fn bring_along(schema: &mut Value, components: Option<&Value>) {
    let mut named = BTreeSet::new();
    rename(schema, &mut named);
    let mut definitions = Map::new();
    while let Some(name) = named.pop_first() {
        let found = components.and_then(|all| all.get(&name));
        if definitions.contains_key(&name) {
            continue;
        }
        let mut definition = found.cloned().unwrap_or(Value::Bool(true));
        rename(&mut definition, &mut named);
        definitions.insert(name, definition);
    }
    if definitions.is_empty() {
        return;
    }
    if !schema.is_object() || schema.get("$ref").is_some() {
        // Beside a reference other fields would be overlooked by older readers.
        *schema = json!({ "allOf": [schema.take()] });
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("$defs".to_owned(), Value::Object(definitions));
    }
}

/// Points references to the document's schemas at `$defs`, and notes their names. As deep as the
/// JSON reader lets a document be.
fn rename(value: &mut Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, named)),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                let name = value.as_str().and_then(|text| text.strip_prefix(COMPONENTS));
                match name.filter(|_| key == "$ref").map(str::to_owned) {
                    Some(name) => {
                        *value = Value::String(format!("#/$defs/{name}"));
                        named.insert(name);
                    }
                    None => rename(value, named),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A document of these event types, each with its newest schema.
pub(super) fn export(types: &[Arc<EventType>]) -> Option<Box<RawValue>> {
    let live = types.iter().filter(|event_type| !event_type.archived);
    let webhooks: Map<String, Value> =
        live.map(|event_type| (event_type.name.clone(), webhook(event_type))).collect();
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Event types", "version": "1" },
        "webhooks": webhooks,
    });
    serde_json::value::to_raw_value(&document).ok()
}

fn webhook(event_type: &EventType) -> Value {
    let schema = event_type.schemas.as_deref().and_then(newest_schema);
    let post = json!({
        "operationId": event_type.name,
        "description": event_type.description,
        "deprecated": event_type.deprecated,
        "requestBody": { "content": { "application/json": { "schema": schema.unwrap_or(json!({})) } } },
        "responses": { "2XX": { "description": "the receiver took it" } },
        "x-svix-feature-flags": event_type.feature_flags,
        "x-svix-group-name": event_type.group_name,
    });
    json!({ "post": post })
}

fn newest_schema(schemas: &str) -> Option<Value> {
    let schemas: Map<String, Value> = serde_json::from_str(schemas).ok()?;
    let version = |name: &String| name.parse::<u64>().unwrap_or(0);
    schemas.into_iter().max_by_key(|(name, _)| version(name)).map(|(_, schema)| schema)
}
