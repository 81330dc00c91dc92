//! The whole life of a webhook, as a user of the library lives it.

use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use svix::api::{EventTypeDeleteOptions, MessageCreateOptions, MessageGetOptions, Svix};
use svix::error::Error;
use svix::models::{MessageOut, RecoverIn};

use crate::receiver::{Arrival, Receiver};
use crate::{ask, client, token, verify};

/// A model of the library from its JSON.
fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("JSON of the library's own model")
}

fn refused<T: std::fmt::Debug>(status: u16, result: Result<T, Error>) {
    match result {
        Err(Error::Http(error)) => assert_eq!(error.status.as_u16(), status, "{error:?}"),
        other => panic!("was not refused with {status}: {other:?}"),
    }
}

struct Life<'a> {
    api: Svix,
    receiver: &'a Receiver,
    event_type: String,
    app: String,
}

impl Life<'_> {
    async fn send(&self, channel: &str, event_id: Option<&str>) -> Result<MessageOut, Error> {
        let payload = json!({ "n": 1, "text": "süß", "nested": { "a": [1, 2.5, null] } });
        let message = of(json!({
            "eventType": self.event_type, "payload": payload, "channels": [channel],
            "eventId": event_id,
        }));
        self.api.message().create(self.app.clone(), message, None).await
    }

    async fn endpoint(&self, place: &str) -> Result<String, Error> {
        let url = self.receiver.url(&format!("/{place}"));
        let input = of(json!({
            "url": url, "uid": place, "channels": [place], "eventTypes": [self.event_type],
        }));
        Ok(self.api.endpoint().create(self.app.clone(), input, None).await?.id)
    }

    async fn secret(&self, endpoint: &str) -> Result<String, Error> {
        Ok(self.api.endpoint().get_secret(self.app.clone(), endpoint.to_owned()).await?.key)
    }

    /// Status codes of a message's attempts, newest first.
    async fn attempts(&self, message: &str) -> Result<Vec<Value>, Error> {
        let attempts = self.api.message_attempt();
        let page = attempts.list_by_msg(self.app.clone(), message.to_owned(), None).await?;
        Ok(page.data.iter().map(|one| serde_json::to_value(one).expect("JSON")).collect())
    }
}

/// Runs it; three deliveries with the secret each was signed with.
pub async fn run(receiver: &Receiver) -> Vec<Value> {
    live(receiver).await.expect("the library takes every answer")
}

async fn live(receiver: &Receiver) -> Result<Vec<Value>, Error> {
    let begun = SystemTime::now() - Duration::from_secs(60);
    let since = begun.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let api = client(token(), 2);
    let event_type = format!("rust.{since}.{}", std::process::id());
    let input = of(json!({ "name": event_type, "description": "a life" }));
    api.event_type().create(input, None).await?;
    let uid = format!("life-{event_type}");
    let input = |name| of(json!({ "name": name, "uid": uid }));
    let app = api.application().create(input("life"), None).await?;
    assert_eq!(api.application().get(uid.clone()).await?.id, app.id);
    refused(409, api.application().create(input("again"), None).await);

    let life = Life { api, receiver, event_type, app: app.id.clone() };
    life.endpoint("main").await?;
    let broken = life.endpoint("broken").await?;
    receiver.fail("/broken", 1_000);
    let lost = life.send("broken", None).await?;

    let secret = life.secret("main").await?;
    let first = life.send("main", Some("first")).await?;
    let arrival = receiver.wait(&first.id, 1);
    verify(&secret, &arrival);
    refused(409, life.send("main", Some("first")).await);
    idempotent(&life).await?;
    let options = MessageGetOptions { with_content: Some(true) };
    let shown = life.api.message().get(app.id.clone(), "first".to_owned(), Some(options)).await?;
    assert_eq!((shown.id, &shown.payload["text"]), (first.id.clone(), &json!("süß")));

    retried_and_resent(&life, &secret).await?;
    let (fresh, third) = rotated(&life, &secret).await?;
    recovered(&life, &lost.id, &broken, begun).await?;
    portal(&life).await?;

    let page = life.api.message().list(app.id.clone(), None).await?;
    let ids: Vec<&str> = page.data.iter().map(|one| one.id.as_str()).collect();
    assert!(ids.contains(&first.id.as_str()) && ids.contains(&lost.id.as_str()), "{ids:?}");
    deleted(&life, &uid).await?;
    let with = |secret: &str, arrival: &Arrival| {
        let mut delivery = serde_json::to_value(arrival).expect("JSON");
        delivery["secret"] = json!(secret);
        delivery
    };
    Ok(vec![with(&secret, &arrival), with(&secret, &third), with(&fresh, &third)])
}

/// The same idempotency key is the same message.
async fn idempotent(life: &Life<'_>) -> Result<(), Error> {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let key = Some(format!("key-{}", life.event_type));
        let options = MessageCreateOptions { idempotency_key: key, with_content: None };
        let message = of(json!({ "eventType": life.event_type, "payload": {} }));
        let sent = life.api.message().create(life.app.clone(), message, Some(options)).await?;
        ids.push(sent.id);
    }
    assert_eq!(ids[0], ids[1]);
    Ok(())
}

/// A failure is tried again with the same id; what was delivered is sent once more when asked for.
async fn retried_and_resent(life: &Life<'_>, secret: &str) -> Result<(), Error> {
    life.receiver.fail("/main", 1);
    let second = life.send("main", None).await?;
    life.receiver.wait(&second.id, 2);
    let attempts = async |count: usize| {
        let all = life.attempts(&second.id).await.expect("attempts");
        (all.len() == count).then_some(all)
    };
    let two = ask("two attempts", async || attempts(2).await).await;
    let codes: Vec<&Value> = two.iter().map(|one| &one["responseStatusCode"]).collect();
    assert_eq!(codes, [200, 500]);
    let states: Vec<&Value> = two.iter().map(|one| &one["status"]).collect();
    assert_eq!(states, [0, 2]);
    let (app, id) = (life.app.clone(), second.id.clone());
    life.api.message_attempt().resend(app, id, "main".to_owned(), None).await?;
    verify(secret, &life.receiver.wait(&second.id, 3));
    let three = ask("three attempts", async || attempts(3).await).await;
    assert_eq!(three[0]["triggerType"], 1, "{}", three[0]);
    Ok(())
}

/// After a rotation the old key and the new one both verify.
async fn rotated(life: &Life<'_>, secret: &str) -> Result<(String, Arrival), Error> {
    let (app, id) = (life.app.clone(), "main".to_owned());
    let answer = life.api.endpoint().rotate_secret(app, id, of(json!({})), None).await?;
    let fresh = life.secret("main").await?;
    assert_eq!(answer.key, fresh);
    assert_ne!(fresh, secret);
    let sent = life.send("main", None).await?;
    let third = life.receiver.wait(&sent.id, 1);
    verify(secret, &third);
    verify(&fresh, &third);
    Ok((fresh, third))
}

/// What was given up on is delivered by a recovery.
async fn recovered(
    life: &Life<'_>,
    lost: &str,
    broken: &str,
    since: SystemTime,
) -> Result<(), Error> {
    ask("the end of a schedule", async || {
        let attempts = life.api.message_attempt();
        let (app, id) = (life.app.clone(), lost.to_owned());
        let page = attempts.list_attempted_destinations(app, id, None).await.expect("a page");
        let status = serde_json::to_value(page.data.first()?.status).expect("JSON");
        (status == 2).then_some(())
    })
    .await;
    let tries = life.attempts(lost).await?.len();
    life.receiver.fail("/broken", 0);
    let (app, id) = (life.app.clone(), broken.to_owned());
    life.api.endpoint().recover(app, id, RecoverIn::new(since.into()), None).await?;
    verify(&life.secret(broken).await?, &life.receiver.wait(lost, tries + 1));
    Ok(())
}

/// A customer's token sees its application and no other.
async fn portal(life: &Life<'_>) -> Result<(), Error> {
    let input = of(json!({}));
    let access = life.api.authentication().app_portal_access(life.app.clone(), input, None).await?;
    assert!(access.url.starts_with("http"), "{access:?}");
    let customer = client(access.token, 2);
    assert_eq!(customer.endpoint().list(life.app.clone(), None).await?.data.len(), 2);
    refused(403, customer.application().list(None).await);
    Ok(())
}

async fn deleted(life: &Life<'_>, uid: &str) -> Result<(), Error> {
    let api = &life.api;
    let main = || (life.app.clone(), "main".to_owned());
    let (app, id) = main();
    api.endpoint().delete(app, id).await?;
    let (app, id) = main();
    refused(404, api.endpoint().get(app, id).await);
    api.application().delete(life.app.clone()).await?;
    refused(404, api.application().get(uid.to_owned()).await);
    let options = EventTypeDeleteOptions { expunge: Some(true) };
    api.event_type().delete(life.event_type.clone(), Some(options)).await?;
    refused(404, api.event_type().get(life.event_type.clone()).await);
    Ok(())
}
