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
use crate::config::raw::closest;
use crate::config::secret::resolve;
use crate::signature::{
    KeyError, Profile, Providers, RawRequest, Reason, Rejection, Request, Secret, Stage, Verified,
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

/// The latest moment that `--at` takes, in unix seconds: whoever gives milliseconds is told so.
const LATEST: u64 = 95_617_584_000;

/// Letters of a provider's name from which on it is completed.
const SHORTEST_GUESS: usize = 3;

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
    let secrets = secrets(profile, &texts, args.try_all)?;
    let settings = settings(args, profile, &providers)?;
    let now_ms = moment(args.at)?.saturating_mul(1000);
    let raw = read(&args.file)?;
    let url = raw.url(public_url(args.url.as_deref())?);
    if args.url.is_none() && profile.signs_url() {
        out::note(&format!(
            "{} signs the URL, and none was given: {url} is taken; give the provider's with --url",
            profile.name
        ));
    }
    if let Some(said) = raw.other_length() {
        out::note(&format!(
            "the body has {} bytes and content-length says {said}: the capture is cut, or a tool changed it",
            raw.body.len()
        ));
    }
    let request = raw.lend(&url);
    let verdict = judge(profile, &request, &secrets, &settings, now_ms);
    let others: Option<Vec<String>> = args.try_all.then(|| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let trials = providers.try_all(&request, &texts, &settings, now_ms);
        trials.into_iter().filter(|t| t.verdict.is_ok()).map(|t| t.profile).collect()
    });
    show(&verdict, others.as_deref(), args.json)?;
    Ok(if verdict.is_ok() { Exit::Done } else { Exit::Failed })
}

/// The secrets that the profile can use. Whoever tries all profiles may not know which one is right.
fn secrets(profile: &Profile, texts: &[String], try_all: bool) -> Result<Vec<Secret>, UsageError> {
    let mut secrets = Vec::with_capacity(texts.len());
    for text in texts {
        match profile.secret(text) {
            Ok(secret) => secrets.push(secret),
            Err(KeyError::Malformed { .. }) if try_all => {
                out::note(&format!("a secret is not written as those of {} are", profile.name));
            }
            Err(err) => return Err(UsageError(format!("--secret: {err}"))),
        }
    }
    Ok(secrets)
}

/// The settings by name, each of which some profile that is tried has to know.
fn settings(
    args: &Verify,
    profile: &Profile,
    providers: &Providers,
) -> Result<BTreeMap<String, String>, UsageError> {
    let mut settings = BTreeMap::new();
    for (name, value) in &args.settings {
        let known_to = |profile: &Profile| profile.known_settings().contains(&name.as_str());
        let tried = known_to(profile) || args.try_all && providers.iter().any(known_to);
        if !tried {
            return Err(unknown_setting(name, profile));
        }
        if settings.insert(name.clone(), value.clone()).is_some() {
            return Err(UsageError(format!("--set {name} was given twice; give it once")));
        }
    }
    let problems = profile.check_settings(&settings);
    match problems.into_iter().next() {
        Some(problem) if !args.try_all => Err(UsageError(format!("--set: {problem}"))),
        _ => Ok(settings),
    }
}

fn unknown_setting(name: &str, profile: &Profile) -> UsageError {
    let known = match profile.known_settings().as_slice() {
        [] => "it has none".to_owned(),
        known => format!("it has {}", known.join(", ")),
    };
    UsageError(format!("--set {name}: the profile {} has no such setting; {known}", profile.name))
}

/// The moment to verify at, in unix seconds.
fn moment(at: Option<u64>) -> Result<u64, UsageError> {
    match at {
        Some(at) if at > LATEST => Err(UsageError(format!(
            "--at {at} lies past the year 5000; it is unix seconds, not milliseconds"
        ))),
        at => Ok(at.unwrap_or_else(now_secs)),
    }
}

fn public_url(url: Option<&str>) -> Result<&str, UsageError> {
    match url {
        Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
            Err(UsageError(format!(
                "--url {url:?} must be the whole URL as the provider has it, with https://"
            )))
        }
        url => Ok(url.unwrap_or(NO_URL)),
    }
}

enum Good {
    /// An event, and the status that it is answered with when it is a question besides.
    Event(Verified, Option<u16>),
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
        Ok(verified) => {
            let asked = profile.handshake(request, secrets, settings, Stage::AfterVerify)?;
            Ok(Good::Event(verified, asked.map(|handshake| handshake.status)))
        }
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
        Ok(Good::Event(event, asked)) => {
            let shown = |text: &Option<String>| {
                text.as_ref().map_or_else(|| "-".to_owned(), |t| out::clean(t, 300))
            };
            out::line(&format!("id    {}", shown(&event.event_id)))?;
            out::line(&format!("type  {}", shown(&event.event_type)))?;
            if !event.covers_body {
                out::note("the signature does not cover the body: only the id protects it");
            }
            if let Some(status) = asked {
                out::note(&format!(
                    "a question of the provider: a source answers it with {status}, and makes no event of it"
                ));
            }
        }
        Ok(Good::Handshake(status)) => {
            out::line("handshake")?;
            out::note(&format!("a question of the provider, answered with {status}; no event"));
        }
        Err(rejection) => {
            out::line(&rejection.reason.code())?;
            if let Reason::BodyWasReencoded(_) = rejection.reason {
                // What it is, besides why.
                out::line(&Reason::SignatureMismatch.code())?;
            }
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
        Ok(Good::Event(event, asked)) => json!({
            "verdict": "accepted",
            "answeredWith": asked,
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
    let text = std::fs::read_to_string(file).map_err(|err| {
        let name = file.display();
        UsageError(format!("--providers: {name} cannot be read ({err}); name a file of profiles"))
    })?;
    Providers::builtin().extended(&text).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        UsageError(format!("{}:\n  {}", file.display(), problems.join("\n  "))).into()
    })
}

fn unknown(name: &str, providers: &Providers) -> UsageError {
    let names: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
    // `stripe` for Stripe, `hubspot_v3` for hubspot, `github` for githbu.
    let wanted = name.to_lowercase().replace('-', "_");
    let begins: Vec<&str> = names.iter().copied().filter(|n| n.starts_with(&wanted)).collect();
    let close = match begins.as_slice() {
        [] => closest(&wanted, names.iter().copied()).into_iter().collect(),
        begins if wanted.len() >= SHORTEST_GUESS => begins.to_vec(),
        _ => Vec::new(),
    };
    let guess = match close.as_slice() {
        [] => String::new(),
        close => format!(" did you mean {}?", close.join(" or ")),
    };
    UsageError(format!("there is no provider {name:?};{guess} there are {}", names.join(", ")))
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
        // Not the exit code of a refusal: nothing was verified.
        let unreadable = |err: std::io::Error| {
            UsageError(format!(
                "{name} cannot be read ({err}); name a file with a raw request, or -"
            ))
        };
        let opened = std::fs::File::open(file).map_err(unreadable)?;
        opened.take(MAX_REQUEST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > MAX_REQUEST_BYTES {
        let what = format!("{name} has more than {MAX_REQUEST_BYTES} bytes, which no source takes");
        return Err(UsageError(what).into());
    }
    RawRequest::parse(&bytes).map_err(|problem| UsageError(format!("{name}: {problem}")).into())
}
