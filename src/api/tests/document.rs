//! The document is held to the router, and every answer in these tests is held to the document.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::House;
use crate::api::docs::DOCUMENT;
use crate::api::reply::Reply;
use crate::api::routes;

static PARSED: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(DOCUMENT).unwrap());

#[test]
fn it_has_every_route_and_no_other() {
    let routed: BTreeSet<(String, String)> = routes::all()
        .into_iter()
        .map(|(method, path)| (method.to_lowercase(), path.to_owned()))
        .collect();
    let mut documented = BTreeSet::new();
    for (path, methods) in PARSED["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert((method.clone(), path.clone()));
        }
    }
    let missing: Vec<_> = routed.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&routed).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    assert_eq!(routed.len(), routes::all().len(), "a route twice");
}

#[test]
fn what_it_refers_to_is_there_and_used() {
    let text = PARSED.to_string();
    for kind in ["schemas", "responses", "parameters"] {
        for name in PARSED["components"][kind].as_object().unwrap().keys() {
            let reference = format!("\"#/components/{kind}/{name}\"");
            assert!(text.contains(&reference), "{kind}/{name} is not used");
        }
    }
    let mut ids = BTreeSet::new();
    for piece in text.split("\"$ref\":\"").skip(1) {
        let reference = piece.split('"').next().unwrap();
        assert!(resolve(reference).is_object(), "{reference} is not there");
    }
    for methods in PARSED["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} twice");
            assert!(!operation["summary"].as_str().unwrap().ends_with('.'), "{id}");
        }
    }
}

#[test]
fn it_can_be_read_by_tools_and_by_people_without_a_token() {
    let house = House::new();
    let got = house.raw("GET", "/api/v1/openapi.json", &[], b"");
    assert_eq!(got.is(200)["openapi"], "3.1.0");
    let page = house.raw("GET", "/docs", &[], b"").reply;
    assert_eq!((page.status, page.content_type), (200, "text/html; charset=utf-8"));
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(text.contains("/api/v1/app/{app}/msg/{msg}/explain"), "{text}");
    let policy = page.headers.iter().find(|(name, _)| *name == "content-security-policy");
    assert!(policy.unwrap().1.starts_with("default-src 'none'"));
}

/// Holds an answer to what the document says of its operation.
#[track_caller]
pub(super) fn check(method: &str, target: &str, reply: &Reply) {
    let path = target.split('?').next().unwrap();
    let method = if method == "HEAD" { "GET" } else { method };
    let Some(operation) = find(&method.to_lowercase(), path) else { return };
    let status = reply.status.to_string();
    let mut response = &operation["responses"][&status];
    // Our own fault is not documented, and not built is no operation.
    assert!(response.is_object(), "{method} {path}: {status} is not documented");
    if let Some(reference) = response["$ref"].as_str() {
        response = resolve(reference);
    }
    let content = &response["content"];
    if content.is_null() {
        assert!(reply.body.is_empty(), "{method} {path} {status}: there should be no body");
        return;
    }
    let schema = &content["application/json"]["schema"];
    if reply.body.is_empty() || schema.is_null() {
        return;
    }
    let body: Value = serde_json::from_slice(&reply.body).expect("it is JSON");
    if let Err(problem) = fits(schema, &body, "") {
        panic!("{method} {path} {status}: {problem}\n{body:#}");
    }
}

/// The operation a path belongs to: of those that fit, the one with the fewest placeholders.
fn find(method: &str, path: &str) -> Option<&'static Value> {
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == segments.len()
            && template.iter().zip(&segments).all(|(t, s)| t.starts_with('{') || t == s)
    };
    let paths = PARSED["paths"].as_object().unwrap().iter();
    let found = paths.filter(|(template, methods)| fits(template) && methods[method].is_object());
    let found = found.min_by_key(|(template, _)| template.matches('{').count());
    found.map(|(_, methods)| &methods[method])
}

fn resolve(reference: &str) -> &'static Value {
    PARSED.pointer(reference.strip_prefix('#').unwrap()).unwrap_or(&Value::Null)
}

/// Whether a value is of a schema. Fields that are not described are refused.
fn fits(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(resolve(reference), value, at);
    }
    if let Some(any) = schema["oneOf"].as_array() {
        let fitting = any.iter().filter(|one| fits(one, value, at).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{at}: {fitting} of oneOf fit")) };
    }
    let kind = kind_of(value);
    let allowed: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Ok(()),
    };
    if !allowed.contains(&kind) {
        return Err(format!("{at}: {kind} where {allowed:?} is said"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        return Err(format!("{at}: {value} is not in the enum"));
    }
    match value {
        Value::Object(fields) => fits_object(schema, fields, at),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.into_iter().try_for_each(|(n, v)| fits(&schema["items"], v, &format!("{at}/{n}")))
        }
        Value::String(text) => fits_text(schema, text, at),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn fits_object(
    schema: &Value,
    fields: &serde_json::Map<String, Value>,
    at: &str,
) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if !fields.contains_key(name) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    for (name, value) in fields {
        let at = format!("{at}/{name}");
        let more = &schema["additionalProperties"];
        if more == &Value::Bool(true) && schema["properties"].get(name).is_none() {
            continue;
        }
        match schema["properties"].get(name).or(Some(more).filter(|more| more.is_object())) {
            Some(schema) => fits(schema, value, &at)?,
            None => return Err(format!("{at}: is not documented")),
        }
    }
    Ok(())
}

fn fits_text(schema: &Value, text: &str, at: &str) -> Result<(), String> {
    let is_moment = || crate::model::clock::Timestamp::from_rfc3339(text).is_some();
    if schema["format"] == "date-time" && !is_moment() {
        return Err(format!("{at}: {text:?} is not a date-time"));
    }
    let prefix = schema["pattern"]
        .as_str()
        .and_then(|p| p.split_once('_'))
        .filter(|_| schema["pattern"].as_str().is_some_and(|p| p.ends_with("_[A-Za-z0-9]{27}$")));
    match prefix {
        Some((prefix, _)) if !crate::api::auth::is_id(&format!("{}_", &prefix[1..]), text) => {
            Err(format!("{at}: {text:?} is not an id"))
        }
        _ => Ok(()),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
