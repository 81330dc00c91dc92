//! `posthaste verify`: would this captured request be accepted, and if not, why.
//!
//! The engine is the daemon's own, offline: nothing is sent, nothing is kept.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::body::pair;
use super::exit::UsageError;
use super::{Exit, now_secs, out};
use crate::config::load::from_process_env;
use crate::config::secret::resolve;
use crate::signature::{
    Profile, Providers, RawRequest, Rejection, Request, Secret, Stage, Verified,
};

/// Shown below the long help.
pub const EXAMPLES: &str = "\
Examples:
  posthaste verify --provider github --secret env:HOOK_SECRET request.http   # id and type, or why not
  posthaste verify --provider stripe --secret file:s.txt --at 1767225600 -   # as of that moment
  posthaste verify --provider square --secret S --url https://x.example/in request.http
  posthaste verify --provider paypal --secret file:cert.pem --set webhook_id=1AB request.http
  posthaste verify --provider github --secret S --try-all request.http       # who would accept it
  posthaste source refused src_ID --id cap_ID --raw | posthaste verify --provider github --secret S -";

/// The largest request that is read.
const MAX_REQUEST_BYTES: u64 = 32 * 1024 * 1024;

/// What stands for the public URL when none is given: providers that sign it will not match.
const NO_URL: &str = "http://localhost/";

/// `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The request as raw HTTP (request line, headers, empty line, body), or - for stdin
    file: PathBuf,
    /// Provider profile, such as github or stripe; an unknown one lists them all
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The provider's secret, or env:NAME or file:PATH; may be repeated, any may match
    #[arg(long = "secret", value_name = "SECRET", required = true, allow_hyphen_values = true)]
    secrets: Vec<String>,
    /// The public URL as the provider has it; some providers sign it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Unix seconds to verify at [default: now]
    #[arg(long, value_name = "UNIX")]
    at: Option<u64>,
    /// A value for a setting of the profile; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// Say which of the known profiles would accept it with these secrets
    #[arg(long)]
    try_all: bool,
    /// A file with profiles of your own
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Does it. Failed when the request would be refused.
///
/// # Errors
/// The request cannot be read, or provider, secrets or settings cannot be used.
pub fn run(args: &Verify) -> anyhow::Result<Exit> {
    let providers = providers(args.providers.as_ref())?;
    let profile =
        providers.get(&args.provider).ok_or_else(|| unknown(&args.provider, &providers))?;
    let environment = from_process_env();
    let mut texts = Vec::with_capacity(args.secrets.len());
    for written in &args.secrets {
        let secret = resolve(written, &environment)
            .map_err(|fault| UsageError(format!("--secret: {}; {}", fault.what, fault.way_out)))?;
        texts.push(secret.reveal().to_owned());
    }
    let secrets: Result<Vec<Secret>, _> = texts.iter().map(|text| profile.secret(text)).collect();
    let secrets = secrets.map_err(|err| UsageError(format!("--secret: {err}")))?;
    let settings: BTreeMap<String, String> = args.settings.iter().cloned().collect();
    if let Some(problem) = profile.check_settings(&settings).into_iter().next() {
        return Err(UsageError(problem).into());
    }
    let raw = read(&args.file)?;
    let url = raw.url(args.url.as_deref().unwrap_or(NO_URL));
    let request = raw.lend(&url);
    let now_ms = args.at.unwrap_or_else(now_secs).saturating_mul(1000);
    let verdict = judge(profile, &request, &secrets, &settings, now_ms);
    let others: Option<Vec<String>> = args.try_all.then(|| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let trials = providers.try_all(&request, &texts, &settings, now_ms);
        trials.into_iter().filter(|t| t.verdict.is_ok()).map(|t| t.profile).collect()
    });
    show(&verdict, others.as_deref(), args.json)?;
    Ok(if verdict.is_ok() { Exit::Done } else { Exit::Failed })
}

enum Good {
    Event(Verified),
    /// A question of the provider, and the status it would be answered with.
    Handshake(u16),
}

fn judge(
    profile: &Profile,
    request: &Request<'_>,
    secrets: &[Secret],
    settings: &BTreeMap<String, String>,
    now_ms: u64,
) -> Result<Good, Rejection> {
    let before = Stage::BeforeVerify { secret_pending: false };
    if let Some(handshake) = profile.handshake(request, secrets, settings, before)? {
        return Ok(Good::Handshake(handshake.status));
    }
    match profile.verify(request, secrets, settings, now_ms) {
        Ok(verified) => Ok(Good::Event(verified)),
        Err(rejection) => Err(profile.explain(rejection, request, secrets, settings, now_ms)),
    }
}

fn show(
    verdict: &Result<Good, Rejection>,
    others: Option<&[String]>,
    as_json: bool,
) -> anyhow::Result<()> {
    if as_json {
        let mut value = as_value(verdict);
        if let (Some(others), Value::Object(fields)) = (others, &mut value) {
            fields.insert("acceptedBy".to_owned(), json!(others));
        }
        return Ok(out::json(&value)?);
    }
    match verdict {
        Ok(Good::Event(event)) => {
            let shown = |text: &Option<String>| {
                text.as_ref().map_or_else(|| "-".to_owned(), |t| out::clean(t, 300))
            };
            out::line(&format!("id    {}", shown(&event.event_id)))?;
            out::line(&format!("type  {}", shown(&event.event_type)))?;
            if !event.covers_body {
                out::note("the signature does not cover the body: only the id protects it");
            }
        }
        Ok(Good::Handshake(status)) => {
            out::line("handshake")?;
            out::note(&format!("a question of the provider, answered with {status}; no event"));
        }
        Err(rejection) => {
            out::line(&rejection.reason.code())?;
            if let Some(hint) = rejection.hint {
                out::line(hint.code())?;
            }
            out::note(&rejection.to_string());
        }
    }
    match others {
        None => {}
        Some([]) => out::line("no known profile accepts it with these secrets")?,
        Some(names) => out::line(&format!("accepted by {}", names.join(", ")))?,
    }
    Ok(())
}

fn as_value(verdict: &Result<Good, Rejection>) -> Value {
    match verdict {
        Ok(Good::Event(event)) => json!({
            "verdict": "accepted",
            "id": event.event_id,
            "type": event.event_type,
            "secret": event.secret_index,
            "coversBody": event.covers_body,
        }),
        Ok(Good::Handshake(status)) => json!({ "verdict": "handshake", "status": status }),
        Err(rejection) => json!({
            "verdict": "refused",
            "code": rejection.reason.code(),
            "hint": rejection.hint.map(crate::signature::Hint::code),
            "detail": rejection.to_string(),
        }),
    }
}

fn providers(file: Option<&PathBuf>) -> anyhow::Result<Providers> {
    let Some(file) = file else { return Ok(Providers::builtin().clone()) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read {}", file.display()))?;
    Providers::builtin().extended(&text).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        UsageError(format!("{}:\n  {}", file.display(), problems.join("\n  "))).into()
    })
}

fn unknown(name: &str, providers: &Providers) -> UsageError {
    let names: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
    UsageError(format!("there is no provider {name:?}; there are {}", names.join(", ")))
}

fn read(file: &PathBuf) -> anyhow::Result<RawRequest> {
    let name = file.display();
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        let stdin = std::io::stdin().lock();
        stdin
            .take(MAX_REQUEST_BYTES + 1)
            .read_to_end(&mut bytes)
            .context("failed to read stdin")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("failed to open {name}"))?;
        opened
            .take(MAX_REQUEST_BYTES + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("failed to read {name}"))?;
    }
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_REQUEST_BYTES,
        "{name} has more than {MAX_REQUEST_BYTES} bytes"
    );
    RawRequest::parse(&bytes).map_err(|problem| UsageError(format!("{name}: {problem}")).into())
}
