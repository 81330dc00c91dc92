//! The ordinary scenario: two servers in turn, the relay and the one to be measured, and how they
//! compare. With `--door` it is two ways into the same one.
use anyhow::Result;
use serde::Serialize;

use crate::book::Manner;
use crate::run::{Bench, Pace, Run, Way};
use crate::server::{Kind, Server};
use crate::stats::{median_by, ratio};

#[derive(Debug, Serialize)]
pub struct Plain {
    pub runs: Vec<Run>,
    /// The second to the first.
    pub ratios: Option<Ratios>,
}

/// The second server's figure over the first one's.
#[derive(Debug, Serialize)]
pub struct Ratios {
    pub accepted_per_s: Option<f64>,
    pub delivered_per_s: Option<f64>,
    pub cpu_us_per_message: Option<f64>,
    pub send_to_receive_p50: Option<f64>,
    pub send_to_receive_p99: Option<f64>,
}

pub fn run(bench: &mut Bench) -> Result<Plain> {
    let subjects = subjects(bench);
    let mut rounds: Vec<Vec<Run>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..bench.args.rounds {
        for ((kind, way), runs) in subjects.iter().zip(&mut rounds) {
            runs.push(once(bench, *kind, *way)?);
        }
    }
    let middle = |runs| median_by(runs, |run: &Run| run.delivered_per_s);
    let runs: Vec<Run> = rounds.into_iter().filter_map(middle).collect();
    let ratios = match runs.as_slice() {
        [first, second] => Some(compare(first, second)),
        _ => None,
    };
    Ok(Plain { runs, ratios })
}

/// The relay first, so that its ports and pages are not what the server is compared by.
fn subjects(bench: &Bench) -> Vec<(Kind, Way)> {
    if bench.args.door {
        return vec![(Kind::Posthaste, Way::Messages), (Kind::Posthaste, Way::Door)];
    }
    let relay = (!bench.args.no_relay).then_some(Kind::Relay);
    let server = (!bench.args.relay_only).then_some(bench.args.server());
    relay.into_iter().chain(server).map(|kind| (kind, Way::Messages)).collect()
}

fn once(bench: &mut Bench, kind: Kind, way: Way) -> Result<Run> {
    let server = Server::start(kind, &bench.args)?;
    let stage = bench.stage(&server, vec![Manner::Good; bench.args.endpoints()], way)?;
    let pace = Pace {
        rate: bench.args.rate,
        messages: bench.args.messages.unwrap_or(u32::MAX),
        limit: bench.args.send_limit(),
    };
    let run = bench.measure(&server, &stage, pace)?;
    server.leave(&stage.app)?;
    Ok(run)
}

fn compare(first: &Run, second: &Run) -> Ratios {
    let cpu = second.cpu_us_per_message.zip(first.cpu_us_per_message);
    let latency = (&second.send_to_receive_us, &first.send_to_receive_us);
    Ratios {
        accepted_per_s: ratio(second.accepted_per_s, first.accepted_per_s),
        delivered_per_s: ratio(second.delivered_per_s, first.delivered_per_s),
        cpu_us_per_message: cpu.and_then(|(second, first)| ratio(second, first)),
        send_to_receive_p50: ratio(latency.0.p50, latency.1.p50),
        send_to_receive_p99: ratio(latency.0.p99, latency.1.p99),
    }
}
