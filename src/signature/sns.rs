//! Amazon SNS, which fits no template: what is signed depends on the type of the message.
//!
//! The signing certificate is pinned as the secret; it is never fetched. Nor is the address that
//! confirms a subscription, here: it is only checked and handed on. All of Amazon's customers are signed for by the same key, so `topic_arn` should be
//! set: without it, anybody's topic is accepted.

use super::asymmetric;
use super::digest::{Encoding, Hash};
use super::key::{Key, Secret};
use super::pointer::{Pointer, scalar};
use super::reason::Reason;
use super::source::Scope;
use super::time::Format;
use super::verify::Match;
use url::Url;

/// The setting that names the one topic to accept.
pub const TOPIC_SETTING: &str = "topic_arn";

/// What is signed of a `Notification`, in this order; `Subject` only if it is there.
const NOTIFICATION: &[&str] = &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
/// What is signed of a `SubscriptionConfirmation` or `UnsubscribeConfirmation`.
const CONFIRMATION: &[&str] =
    &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];

pub(crate) fn check(scope: &Scope<'_>, secrets: &[Secret]) -> Result<Match, Reason> {
    let malformed = |why: &str| Reason::SignatureMalformed(why.to_owned());
    // The key is pinned, so this address decides nothing; but one that is not Amazon's is no
    // message of Amazon's, whoever signed it.
    let address = field(scope, "SigningCertURL");
    if address.is_some_and(|url| !is_certificate(&url)) {
        let why = "SigningCertURL is not https://sns.REGION.amazonaws.com/….pem";
        return Err(malformed(why));
    }
    let signature = match field(scope, "Signature").filter(|text| !text.is_empty()) {
        None => return Err(Reason::SignatureMissing("json:/Signature".to_owned())),
        Some(text) => Encoding::Base64.decode(&text),
    };
    let signature = signature.ok_or_else(|| malformed("it is not base64 with its padding"))?;
    let hash = match field(scope, "SignatureVersion").as_deref() {
        Some("1") => Hash::Sha1,
        Some("2") => Hash::Sha256,
        _ => return Err(malformed("SignatureVersion is neither 1 nor 2")),
    };
    let message = signed_text(scope)?;
    let is_right = |secret: &Secret| match &secret.key {
        Key::Spki(spki) => asymmetric::rsa_pkcs1(hash, spki, message.as_bytes(), &signature),
        Key::Bytes(_) | Key::Ed25519(_) => false,
    };
    let secret_index = secrets.iter().position(is_right).ok_or(Reason::SignatureMismatch)?;
    let topic = field(scope, "TopicArn");
    match scope.cfg.get(TOPIC_SETTING) {
        Some(expected) if topic.as_deref() != Some(expected) => {
            let name = "json:/TopicArn".to_owned();
            return Err(Reason::RequiredHeader { name, expected: expected.to_owned() });
        }
        Some(_) | None => {}
    }
    let sent_at_ms = field(scope, "Timestamp").and_then(|text| Format::Rfc3339.read(&text));
    Ok(Match { secret_index, signature, sent_at_ms })
}

/// `Key\nValue\n` for every signed key.
fn signed_text(scope: &Scope<'_>) -> Result<String, Reason> {
    let kind = field(scope, "Type");
    let keys = match kind.as_deref() {
        Some("Notification") => NOTIFICATION,
        Some("SubscriptionConfirmation" | "UnsubscribeConfirmation") => CONFIRMATION,
        _ => return Err(Reason::SignatureMalformed("Type is none that SNS signs".to_owned())),
    };
    let mut text = String::new();
    for key in keys {
        match field(scope, key) {
            Some(value) => text.extend([key, "\n", &value, "\n"]),
            None if *key == "Subject" => {}
            None => return Err(Reason::SignedValueMissing(format!("json:/{key}"))),
        }
    }
    Ok(text)
}

/// Where to confirm the subscription, if that is what is asked for and the address is Amazon's.
pub(crate) fn confirm_url(scope: &Scope<'_>) -> Option<String> {
    let confirmation = field(scope, "Type")? == "SubscriptionConfirmation";
    let url = field(scope, "SubscribeURL").filter(|_| confirmation)?;
    is_amazons(&url).then_some(url)
}

/// Whether a request to it reaches SNS and nobody else.
fn is_amazons(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let region = host.strip_prefix("sns.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && region.is_some_and(|region| !region.is_empty() && plain(region))
}

/// Whether SNS may have its certificate there.
fn is_certificate(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    is_amazons(url) && path.strip_suffix(".pem").is_some_and(|path| !path.ends_with('/'))
}

fn field(scope: &Scope<'_>, name: &str) -> Option<String> {
    let pointer = Pointer::parse(&format!("/{name}"))?;
    scalar(pointer.first(scope.json?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amazons_own_addresses_confirm() {
        for good in [
            "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=1",
            "https://sns.cn-north-1.amazonaws.com.cn/?Action=ConfirmSubscription",
        ] {
            assert!(is_amazons(good), "{good}");
        }
        for bad in [
            "http://sns.us-west-2.amazonaws.com/",
            "https://sns.us-west-2.amazonaws.com:8443/",
            "https://sns.us-west-2.amazonaws.com.evil.example/",
            "https://sns.us-west-2.amazonaws.com@evil.example/",
            "https://user@sns.us-west-2.amazonaws.com/",
            "https://sns.evil.example/.amazonaws.com/",
            "https://sns.a.b.amazonaws.com/",
            "https://sns..amazonaws.com/",
            "https://evil.example/?sns.us-west-2.amazonaws.com",
            "",
        ] {
            assert!(!is_amazons(bad), "{bad}");
        }
    }

    #[test]
    fn a_certificate_is_amazons_or_the_message_is_not() {
        let good = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-0.pem";
        assert!(is_certificate(good));
        assert!(is_certificate("https://sns.cn-north-1.amazonaws.com.cn/a.pem"));
        for bad in [
            "",
            "https://sns.us-west-2.amazonaws.com/a.pem.evil",
            "https://sns.us-west-2.amazonaws.com/.pem",
            "https://sns.us-west-2.amazonaws.com/?a.pem",
            "https://sns.us-west-2.amazonaws.com/#a.pem",
            "https://evil.example/sns.us-west-2.amazonaws.com/a.pem",
            "http://sns.us-west-2.amazonaws.com/a.pem",
        ] {
            assert!(!is_certificate(bad), "{bad}");
        }
    }
}
