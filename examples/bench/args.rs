//! What can be asked for on the command line.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

use crate::mark::MIN_PAYLOAD;
use crate::server::Kind;

const EXAMPLES: &str = "\
Examples:
  bench                                  a posthaste beside this program, and the relay
  bench --relay-only                     the relay alone: is the bench itself plausible here?
  bench --rate 50 --seconds 20           light load, for latencies
  bench --endpoints 10                   fan-out
  bench --url http://127.0.0.1:8071 --token T --pid 812 --pid 797
                                         any server that speaks the svix API
  bench --door --connections 64          signed events at a door, beside POST msg
  bench --sick dead=1,slow=50 --endpoints 1000
                                         do sick receivers hurt the healthy ones?
  bench --backlog 1000000                memory and restart with a million pending deliveries
  bench --churn 1000000                  disk and memory while messages come and expire";

/// Load generator, receiver and report in one program, for any server that speaks the svix API.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    #[command(subcommand)]
    pub hidden: Option<Hidden>,

    /// Measure a server that runs already, at http://HOST:PORT.
    #[arg(long, requires = "token")]
    pub url: Option<String>,
    /// Its operator's token.
    #[arg(long)]
    pub token: Option<String>,
    /// One of its processes, measured with all below it; may be repeated.
    #[arg(long)]
    pub pid: Vec<u32>,
    /// A folder of its data, for the disk figure; may be repeated.
    #[arg(long)]
    pub disk: Vec<PathBuf>,

    /// The posthaste to start [default: beside this program].
    #[arg(long)]
    pub bin: Option<PathBuf>,
    /// Where the posthaste's temporary data folder is made [default: the system's].
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// How far the posthaste syncs before it accepts.
    #[arg(long, value_enum, default_value = "disk")]
    pub sync: Sync,

    /// Measure the relay alone: warp in, ureq out, nothing kept.
    #[arg(long, conflicts_with_all = ["no_relay", "url", "backlog"])]
    pub relay_only: bool,
    /// Leave the relay out.
    #[arg(long)]
    pub no_relay: bool,
    /// Sending threads of the relay.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub relay_threads: u16,

    /// Stop after so many messages [default: as many as fit into --seconds].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MAX_MESSAGES))]
    pub messages: Option<u32>,
    /// Stop sending after so long [default: 10, or 300 with --messages, --backlog or --churn].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: Option<u64>,
    /// Connections of the load generator.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 1024, value_parser = payload)]
    pub payload: usize,
    /// Endpoints of the application; every message goes to each of them [default: 1; 1000 with --sick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub endpoints: Option<u32>,
    /// Each message goes to one endpoint only, in turn, by its channel.
    #[arg(long)]
    pub spread: bool,
    /// Messages a second, open loop [default: as fast as the answers come].
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// Measure so many times, in turn with the relay, and report the median.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub rounds: u16,

    /// Compare signed GitHub events at the door of a source with the same messages at `POST msg`.
    #[arg(long, conflicts_with_all = ["url", "relay_only", "no_relay", "backlog", "sick", "spread", "idempotency", "lean"])]
    pub door: bool,

    /// Endpoints that misbehave, as dead=1,slow=50: the same run with and without them.
    #[arg(long, value_parser = sick)]
    pub sick: Option<Sick>,
    /// Post so many messages to endpoints that refuse, then measure memory and restart.
    #[arg(long, conflicts_with = "sick", value_parser = clap::value_parser!(u32).range(1..=MAX_MESSAGES))]
    pub backlog: Option<u32>,
    /// Post so many messages, and a large one after every 500, through a retention of seconds.
    #[arg(long, conflicts_with_all = ["url", "sick", "backlog", "door", "relay_only", "spread"], value_parser = clap::value_parser!(u32).range(1..=MAX_MESSAGES))]
    pub churn: Option<u32>,
    /// With --churn: how long messages are kept, in seconds.
    #[arg(long, default_value_t = 4, requires = "churn", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub retention: u64,

    /// Check every signature that arrives; costs CPU on the same machine.
    #[arg(long)]
    pub verify: bool,
    /// Send an idempotency-key with each POST, as the svix libraries do.
    #[arg(long)]
    pub idempotency: bool,
    /// Ask for answers without the payload (`with_content=false`).
    #[arg(long)]
    pub lean: bool,
    /// How long to wait for deliveries after the last POST, in seconds.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain: u64,
    /// The program ends by itself after so many seconds, whatever happens.
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub deadline: u64,
    /// The report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Messages of one run.
const MAX_MESSAGES: i64 = 50_000_000;

#[derive(Debug, Clone, Subcommand)]
pub enum Hidden {
    /// The relay as a process of its own; started by the bench itself.
    #[command(hide = true)]
    Relay {
        #[arg(long, default_value_t = 16)]
        threads: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sync {
    Disk,
    Os,
}

impl Sync {
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Os => "os",
        }
    }
}

/// How many endpoints misbehave, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sick {
    pub dead: usize,
    pub slow: usize,
}

impl Args {
    pub fn endpoints(&self) -> usize {
        let fallback = if self.sick.is_some() { 1000 } else { 1 };
        self.endpoints.map_or(fallback, |endpoints| endpoints as usize)
    }

    /// How long POSTs are sent.
    pub fn send_limit(&self) -> Duration {
        let counted = self.messages.is_some() || self.backlog.is_some() || self.churn.is_some();
        Duration::from_secs(self.seconds.unwrap_or(if counted { 300 } else { 10 }))
    }

    pub fn drain_limit(&self) -> Duration {
        Duration::from_secs(self.drain)
    }

    pub fn retention(&self) -> Duration {
        Duration::from_secs(self.retention)
    }

    /// The server to be measured beside the relay.
    pub fn server(&self) -> Kind {
        if self.url.is_some() { Kind::Given } else { Kind::Posthaste }
    }

    /// The posthaste binary: `--bin`, or beside this program, or a folder up from there.
    pub fn bin(&self) -> Result<PathBuf> {
        if let Some(bin) = &self.bin {
            if bin.is_file() {
                return Ok(bin.clone());
            }
            bail!("--bin {}: no such file", bin.display());
        }
        let own = std::env::current_exe()?;
        let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("posthaste"));
        match found.into_iter().find(|bin: &PathBuf| bin.is_file()) {
            Some(bin) => Ok(bin),
            None => bail!(
                "no posthaste near {}: build it with `cargo build --release`, or give --bin, --url or --relay-only",
                own.parent().unwrap_or(Path::new("/")).display()
            ),
        }
    }

    /// What the types cannot say.
    pub fn check(&self) -> Result<()> {
        if let Some(sick) = self.sick
            && sick.dead + sick.slow >= self.endpoints()
        {
            bail!("--sick needs more --endpoints than {}, or none is healthy", self.endpoints());
        }
        if self.backlog.is_some() && self.url.is_some() {
            bail!("--backlog restarts the server, so it needs one that the bench starts itself");
        }
        Ok(())
    }
}

fn payload(text: &str) -> Result<usize, String> {
    const MAX: usize = 8 * 1024 * 1024;
    let bytes = text.parse().map_err(|_| "not a number".to_owned())?;
    if (MIN_PAYLOAD..=MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("must be {MIN_PAYLOAD} to {MAX}"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=1e6).contains(&rate) { Ok(rate) } else { Err("must be 0.1 to 1000000".to_owned()) }
}

fn sick(text: &str) -> Result<Sick, String> {
    let mut sick = Sick { dead: 0, slow: 0 };
    for part in text.split(',') {
        let (name, count) = part.split_once('=').ok_or("expected dead=N,slow=N")?;
        let count = count.parse().map_err(|_| format!("{name}: not a number"))?;
        match name {
            "dead" => sick.dead = count,
            "slow" => sick.slow = count,
            _ => return Err(format!("{name}: expected dead or slow")),
        }
    }
    Ok(sick)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args> {
        let args = Args::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))?;
        args.check()?;
        Ok(args)
    }

    #[test]
    fn defaults_depend_on_what_is_asked() {
        let plain = parse("").expect("no arguments");
        assert_eq!((plain.endpoints(), plain.send_limit().as_secs()), (1, 10));
        let sick = parse("--sick dead=1,slow=50").expect("sick");
        assert_eq!((sick.endpoints(), sick.sick), (1000, Some(Sick { dead: 1, slow: 50 })));
        assert_eq!(parse("--messages 5").expect("counted").send_limit().as_secs(), 300);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--sick dead",
            "--sick ill=3",
            "--sick dead=1 --endpoints 1",
            "--rate 0",
            "--payload 8388609",
            "--messages 0",
            "--url http://127.0.0.1:1",
            "--backlog 5 --relay-only",
            "--door --lean",
            "--churn 5 --backlog 5",
            "--retention 5",
            "--backlog 5 --url http://127.0.0.1:1 --token t",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        parse(&format!("--payload {MIN_PAYLOAD}")).expect("the smallest payload");
        assert!(parse(&format!("--payload {}", MIN_PAYLOAD - 1)).is_err());
        parse("--payload 8388608").expect("the largest payload");
    }
}
