//! Do sick receivers hurt the healthy ones? The same run with and without them, in turn, at half
//! of the highest rate measured just before.
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::time::Duration;

use crate::args::Sick;
use crate::book::Manner;
use crate::run::{Bench, Pace, Run, Way};
use crate::server::{Kind, Server};
use crate::stats::{float, median_by, ratio};

/// How long the highest rate is measured.
const FULL_SPEED: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
pub struct Report {
    pub dead: usize,
    pub slow: usize,
    /// Messages a second; null when --rate was given.
    pub highest_rate: Option<f64>,
    pub rate: f64,
    /// The run of the median p99, without and with the sick ones.
    pub healthy: Run,
    pub sick: Run,
    /// Of the two p99 of send-to-receive.
    pub p99_ratio: Option<f64>,
    pub p50_ratio: Option<f64>,
}

pub fn run(bench: &mut Bench, sick: Sick) -> Result<Report> {
    let total = bench.args.endpoints();
    let with = manners(total, sick);
    let without = with.iter().map(|manner| match manner {
        Manner::Dead | Manner::Slow => Manner::Absent,
        other @ (Manner::Good | Manner::Refusing | Manner::Absent) => *other,
    });
    let without: Vec<Manner> = without.collect();
    let highest_rate = match bench.args.rate {
        Some(_) => None,
        None => Some(highest(bench, &without, sick)?),
    };
    let rate = bench.args.rate.or(highest_rate.map(|rate| rate / 2.0)).context("no rate")?;
    let pace = Pace {
        rate: Some(rate),
        messages: bench.args.messages.unwrap_or(u32::MAX),
        limit: bench.args.send_limit(),
    };
    let (mut healthy, mut ill) = (Vec::new(), Vec::new());
    for _ in 0..bench.args.rounds {
        healthy.push(once(bench, without.clone(), pace)?);
        ill.push(once(bench, with.clone(), pace)?);
    }
    let p99 = |run: &Run| run.send_to_receive_us.p99;
    let healthy = median_by(healthy, p99).context("no run")?;
    let ill = median_by(ill, p99).context("no run")?;
    Ok(Report {
        dead: sick.dead,
        slow: sick.slow,
        highest_rate,
        rate,
        p99_ratio: ratio(p99(&ill), p99(&healthy)),
        p50_ratio: ratio(ill.send_to_receive_us.p50, healthy.send_to_receive_us.p50),
        healthy,
        sick: ill,
    })
}

/// Messages a second that the healthy endpoints take.
fn highest(bench: &mut Bench, manners: &[Manner], sick: Sick) -> Result<f64> {
    let pace = Pace {
        rate: None,
        messages: bench.args.messages.unwrap_or(u32::MAX),
        limit: FULL_SPEED.min(bench.args.send_limit()),
    };
    let run = once(bench, manners.to_vec(), pace)?;
    let total = manners.len() as u64;
    let healthy = total - (sick.dead + sick.slow) as u64;
    // Spread, a message for a sick endpoint counts as sent though nobody gets it.
    let deliveries_a_message =
        if bench.args.spread { float(healthy) / float(total) } else { float(healthy) };
    ratio(run.delivered_per_s, deliveries_a_message).context("no healthy endpoint")
}

fn once(bench: &mut Bench, manners: Vec<Manner>, pace: Pace) -> Result<Run> {
    let kind = if bench.args.relay_only { Kind::Relay } else { bench.args.server() };
    let server = Server::start(kind, &bench.args)?;
    let stage = bench.stage(&server, manners, Way::Messages)?;
    let run = bench.measure(&server, &stage, pace)?;
    server.leave(&stage.app)?;
    Ok(run)
}

/// The sick ones spread evenly among the healthy: neither first nor last in any order.
fn manners(total: usize, sick: Sick) -> Vec<Manner> {
    let ill = sick.dead + sick.slow;
    let mut all = vec![Manner::Good; total];
    for number in 0..ill {
        let manner = if number < sick.dead { Manner::Dead } else { Manner::Slow };
        if let Some(place) = all.get_mut((2 * number + 1) * total / (2 * ill)) {
            *place = manner;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_sick_as_was_asked() {
        for (total, dead, slow) in [(1000, 1, 50), (2, 1, 0), (10, 4, 5), (7, 0, 0)] {
            let all = manners(total, Sick { dead, slow });
            let count = |manner| all.iter().filter(|other| **other == manner).count();
            assert_eq!((count(Manner::Dead), count(Manner::Slow)), (dead, slow));
            assert_eq!(all.len(), total);
        }
    }
}
