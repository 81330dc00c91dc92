//! The ordinary scenario: the relay and the server in turn, and how they compare.
use anyhow::Result;
use serde::Serialize;

use crate::book::Manner;
use crate::run::{Bench, Pace, Run};
use crate::server::{Kind, Server};
use crate::stats::{median_by, ratio};

#[derive(Debug, Serialize)]
pub struct Plain {
    pub runs: Vec<Run>,
    pub to_relay: Option<Ratios>,
}

/// The server's figure over the relay's.
#[derive(Debug, Serialize)]
pub struct Ratios {
    pub accepted_per_s: Option<f64>,
    pub delivered_per_s: Option<f64>,
    pub cpu_us_per_message: Option<f64>,
    pub send_to_receive_p50: Option<f64>,
    pub send_to_receive_p99: Option<f64>,
}

pub fn run(bench: &mut Bench) -> Result<Plain> {
    let kinds = kinds(bench);
    let mut rounds: Vec<Vec<Run>> = kinds.iter().map(|_| Vec::new()).collect();
    for _ in 0..bench.args.rounds {
        for (kind, runs) in kinds.iter().zip(&mut rounds) {
            runs.push(once(bench, *kind)?);
        }
    }
    let middle = |runs| median_by(runs, |run: &Run| run.delivered_per_s);
    let runs: Vec<Run> = rounds.into_iter().filter_map(middle).collect();
    let to_relay = match runs.as_slice() {
        [relay, server] => Some(ratios(relay, server)),
        _ => None,
    };
    Ok(Plain { runs, to_relay })
}

/// The relay first, so that its ports and pages are not what the server is compared by.
fn kinds(bench: &Bench) -> Vec<Kind> {
    let relay = (!bench.args.no_relay).then_some(Kind::Relay);
    let server = (!bench.args.relay_only).then_some(bench.args.server());
    relay.into_iter().chain(server).collect()
}

fn once(bench: &mut Bench, kind: Kind) -> Result<Run> {
    let server = Server::start(kind, &bench.args)?;
    let stage = bench.stage(&server, vec![Manner::Good; bench.args.endpoints()])?;
    let pace = Pace {
        rate: bench.args.rate,
        messages: bench.args.messages.unwrap_or(u32::MAX),
        limit: bench.args.send_limit(),
    };
    let run = bench.measure(&server, &stage, pace)?;
    server.leave(&stage.app)?;
    Ok(run)
}

fn ratios(relay: &Run, server: &Run) -> Ratios {
    let cpu = server.cpu_us_per_message.zip(relay.cpu_us_per_message);
    let latency = (&server.send_to_receive_us, &relay.send_to_receive_us);
    Ratios {
        accepted_per_s: ratio(server.accepted_per_s, relay.accepted_per_s),
        delivered_per_s: ratio(server.delivered_per_s, relay.delivered_per_s),
        cpu_us_per_message: cpu.and_then(|(server, relay)| ratio(server, relay)),
        send_to_receive_p50: ratio(latency.0.p50, latency.1.p50),
        send_to_receive_p99: ratio(latency.0.p99, latency.1.p99),
    }
}
