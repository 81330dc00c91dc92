//! What an operation may be asked about, made anew for each of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use svix::api::Svix;
use svix::error::Error;

use crate::ask;
use crate::receiver::Receiver;

/// An application with an event type, an endpoint and a message.
pub struct World<'a> {
    pub api: &'a Svix,
    bodies: &'a Value,
    url: String,
    unique: String,
    app: String,
    endpoint: String,
    message: String,
    event_type: String,
    source: OnceLock<String>,
}

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value.clone())
        .unwrap_or_else(|error| panic!("{value} is no JSON of the library's model: {error}"))
}

/// An id that nothing has.
pub fn none() -> String {
    "no-such-thing".to_owned()
}

fn is_not_built(error: &Error) -> bool {
    let Error::Http(error) = error else { return false };
    error.payload.as_ref().is_some_and(|payload| payload.code == "not_implemented")
}

/// `not_implemented`, `works`, or what failed.
pub fn verdict<T>(outcome: Result<T, Error>) -> String {
    match outcome {
        Ok(_) => "works".to_owned(),
        Err(error) if is_not_built(&error) => "not_implemented".to_owned(),
        Err(error) => format!("fails: {error:?}"),
    }
}

impl<'a> World<'a> {
    pub async fn make(
        api: &'a Svix,
        bodies: &'a Value,
        receiver: &Receiver,
    ) -> Result<Self, Error> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let unique = format!("surface-{}-{number}", std::process::id());
        let event_type = format!("surface.{unique}");
        let url = receiver.url("/surface");
        let input = of(json!({ "name": event_type, "description": "surface" }));
        api.event_type().create(input, None).await?;
        let app = api.application().create(of(json!({ "name": "surface" })), None).await?.id;
        let input = of(json!({ "url": url }));
        let endpoint = api.endpoint().create(app.clone(), input, None).await?.id;
        let input = of(json!({ "eventType": event_type, "payload": {} }));
        let message = api.message().create(app.clone(), input, None).await?.id;
        let source = OnceLock::new();
        Ok(Self { api, bodies, url, unique, app, endpoint, message, event_type, source })
    }

    pub fn app(&self) -> String {
        self.app.clone()
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub fn message(&self) -> String {
        self.message.clone()
    }

    pub fn event_type(&self) -> String {
        self.event_type.clone()
    }

    pub async fn attempt(&self) -> Result<String, Error> {
        let attempts = self.api.message_attempt();
        ask("an attempt", async || {
            let page = attempts.list_by_msg(self.app(), self.message(), None).await;
            match page {
                Ok(page) => page.data.first().map(|one| Ok(one.id.clone())),
                Err(error) => Some(Err(error)),
            }
        })
        .await
    }

    pub async fn task(&self) -> Result<String, Error> {
        let input = self.body("RecoverIn");
        Ok(self.api.endpoint().recover(self.app(), self.endpoint(), input, None).await?.id)
    }

    /// One source, however many arguments name it.
    pub async fn source(&self) -> Result<String, Error> {
        if let Some(made) = self.source.get() {
            return Ok(made.clone());
        }
        let made = self.api.ingest().source().create(self.body("IngestSourceIn"), None).await;
        let id = if_built(made.map(|source| source.id))?;
        Ok(self.source.get_or_init(|| id).clone())
    }

    pub async fn ingest_endpoint(&self) -> Result<String, Error> {
        let source = self.source().await?;
        let input = self.body("IngestEndpointIn");
        let made = self.api.ingest().endpoint().create(source, input, None).await;
        if_built(made.map(|endpoint| endpoint.id))
    }

    pub async fn operational_endpoint(&self) -> Result<String, Error> {
        let input = self.body("OperationalWebhookEndpointIn");
        let made = self.api.operational_webhook().endpoint().create(input, None).await;
        if_built(made.map(|endpoint| endpoint.id))
    }

    /// The body that `bodies.json` has for a model.
    pub fn body<T: DeserializeOwned>(&self, model: &str) -> T {
        let mut body = self.bodies[model].clone();
        assert!(!body.is_null(), "bodies.json has no {model}");
        self.fill(&mut body);
        of(body)
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let known = match text.as_str() {
                    "$unique" => &self.unique,
                    "$url" => &self.url,
                    "$since" => &self.bodies["$since"].as_str().unwrap_or_default().to_owned(),
                    "$until" => &self.bodies["$until"].as_str().unwrap_or_default().to_owned(),
                    _ => return,
                };
                text.clone_from(known);
            }
            Value::Array(values) => values.iter_mut().for_each(|one| self.fill(one)),
            Value::Object(fields) => fields.values_mut().for_each(|one| self.fill(one)),
            _ => {}
        }
    }
}

/// What is not built has no id to give.
fn if_built(made: Result<String, Error>) -> Result<String, Error> {
    match made {
        Err(error) if is_not_built(&error) => Ok("not-built".to_owned()),
        other => other,
    }
}
