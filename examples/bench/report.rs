//! The report for people: one column for each run. The one for machines is the serialised structs.
use std::fmt::Write as _;

use crate::backlog;
use crate::churn;
use crate::plain::{Plain, Ratios};
use crate::run::Run;
use crate::sick;
use crate::stats::Quantiles;

const LABEL_WIDTH: usize = 28;
const COLUMN_WIDTH: usize = 20;

pub fn plain(report: &Plain) -> String {
    let mut text = runs(&report.runs.iter().map(|run| (run.server, run)).collect::<Vec<_>>());
    if let (Some(ratios), [first, second]) = (&report.ratios, report.runs.as_slice()) {
        // Writing to a string cannot fail.
        writeln!(text, "\n{} to {}", second.server, first.server).ok();
        text.push_str(&ratio_lines(ratios));
    }
    text
}

pub fn sick(report: &sick::Report) -> String {
    let mut text = runs(&[("without sick", &report.healthy), ("with sick", &report.sick)]);
    let (dead, slow) = (report.dead, report.slow);
    line(&mut text, "sick", &[format!("{dead} dead, {slow} slow")]);
    if let Some(highest) = report.highest_rate {
        line(&mut text, "highest messages/s", &[whole(highest)]);
    }
    line(&mut text, "messages/s asked for", &[fine(report.rate)]);
    line(&mut text, "p50 with / without", &[maybe(report.p50_ratio, fine)]);
    line(&mut text, "p99 with / without", &[maybe(report.p99_ratio, fine)]);
    text
}

pub fn backlog(report: &backlog::Report) -> String {
    let mut text = String::new();
    let mut add = |label: &str, value: String| line(&mut text, label, &[value]);
    add("accepted", report.accepted.to_string());
    add("accepted/s", whole(report.accepted_per_s));
    add("endpoints", report.endpoints.to_string());
    add("pending deliveries", report.pending.to_string());
    add("attempts refused", report.attempts.to_string());
    add("RSS idle, MiB", fine(report.idle_rss_mib));
    add("RSS peak, MiB", fine(report.peak_rss_mib));
    add("RSS at rest, MiB", fine(report.rest_rss_mib));
    add("disk, MiB", fine(report.disk_mib));
    for (name, restart, rss) in [
        ("SIGTERM", report.after_stop, report.after_stop_rss_mib),
        ("SIGKILL", report.after_kill, report.after_kill_rss_mib),
    ] {
        add(&format!("{name}: stopped in, s"), fine(restart.stop_s));
        add(&format!("{name}: accepting in, s"), fine(restart.accepting_s));
        add(&format!("{name}: RSS after, MiB"), fine(rss));
    }
    text
}

pub fn churn(report: &churn::Report) -> String {
    let mut text = String::new();
    let mut add = |label: &str, value: String| line(&mut text, label, &[value]);
    add("accepted", report.accepted.to_string());
    add("accepted/s", whole(report.accepted_per_s));
    add("missing", report.missing.to_string());
    add("kept for, s", fine(report.retention_s));
    add("kept share of the run", fine(report.kept_share));
    add("payloads in all, MiB", fine(report.payload_mib));
    add("payloads alive, MiB", fine(report.alive_mib));
    add("disk peak, MiB", fine(report.disk_peak_mib));
    add("disk to alive", fine(report.disk_to_alive));
    add("disk at the end, MiB", fine(report.disk_end_mib));
    for (name, rss) in ["first", "second", "third", "last"].iter().zip(report.rss_mib) {
        add(&format!("RSS, {name} quarter, MiB"), fine(rss));
    }
    add("RSS at the end, MiB", fine(report.rss_end_mib));
    add("blobs", report.blobs.to_string());
    add("store check", report.check.clone());
    text
}

fn runs(columns: &[(&str, &Run)]) -> String {
    let mut text = String::new();
    let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    line(&mut text, "", &titles);
    let mut add = |label: &str, cell: &dyn Fn(&Run) -> String| {
        let cells: Vec<String> = columns.iter().map(|(_, run)| cell(run)).collect();
        line(&mut text, label, &cells);
    };
    add("endpoints", &|run| run.endpoints.to_string());
    add("accepted", &|run| run.accepted.to_string());
    add("accepted/s", &|run| whole(run.accepted_per_s));
    add("delivered", &|run| run.delivered.to_string());
    add("delivered/s", &|run| whole(run.delivered_per_s));
    add("missing", &|run| run.missing.to_string());
    add("duplicates", &|run| run.duplicates.to_string());
    add("accept p50 / p99, ms", &|run| latency(&run.accept_us));
    add("send to receive p50 / p99", &|run| latency(&run.send_to_receive_us));
    add("drained after, s", &|run| fine(run.drain_s));
    add("CPU per message, µs", &|run| maybe(run.cpu_us_per_message, fine));
    add("CPU per delivery, µs", &|run| maybe(run.cpu_us_per_delivery, fine));
    add("bench CPU per message, µs", &|run| fine(run.bench_cpu_us_per_message));
    add("others' CPU, % of a core", &|run| fine(run.other_cpu_percent));
    add("idle CPU, %", &|run| maybe(run.idle_cpu_percent, fine));
    add("RSS idle, MiB", &|run| maybe(run.idle_rss_mib, fine));
    add("RSS peak, MiB", &|run| maybe(run.peak_rss_mib, fine));
    add("disk, MiB", &|run| maybe(run.disk_mib, fine));
    if columns.iter().any(|(_, run)| run.behind_us.is_some()) {
        add("behind schedule p99, ms", &|run| {
            maybe(run.behind_us.map(|behind| behind.p99 / 1e3), fine)
        });
    }
    if columns.iter().any(|(_, run)| run.sick_requests > 0) {
        add("requests at sick endpoints", &|run| run.sick_requests.to_string());
    }
    if columns.iter().any(|(_, run)| run.forged.is_some()) {
        add("wrong signatures", &|run| {
            run.forged.map_or_else(|| "-".to_owned(), |forged| forged.to_string())
        });
    }
    if columns.iter().any(|(_, run)| run.unasked + run.strays > 0) {
        add("unasked / strays", &|run| format!("{} / {}", run.unasked, run.strays));
    }
    text
}

fn ratio_lines(ratios: &Ratios) -> String {
    let mut text = String::new();
    for (label, value) in [
        ("accepted/s", ratios.accepted_per_s),
        ("delivered/s", ratios.delivered_per_s),
        ("CPU per message", ratios.cpu_us_per_message),
        ("send to receive p50", ratios.send_to_receive_p50),
        ("send to receive p99", ratios.send_to_receive_p99),
    ] {
        line(&mut text, label, &[maybe(value, fine)]);
    }
    text
}

fn line(text: &mut String, label: &str, cells: &[String]) {
    let mut line = format!("{label:<LABEL_WIDTH$}");
    for cell in cells {
        // Writing to a string cannot fail.
        write!(line, "{cell:>COLUMN_WIDTH$}").ok();
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn latency(quantiles: &Quantiles) -> String {
    format!("{:.2} / {:.2}", quantiles.p50 / 1e3, quantiles.p99 / 1e3)
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn fine(value: f64) -> String {
    format!("{value:.2}")
}

fn maybe(value: Option<f64>, show: fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_align_and_do_not_trail() {
        let mut text = String::new();
        line(&mut text, "disk, MiB", &["1.00".to_owned(), "-".to_owned()]);
        assert_eq!(text.len(), LABEL_WIDTH + 2 * COLUMN_WIDTH + 1);
        line(&mut text, "x", &[String::new()]);
        assert!(text.ends_with("\nx\n"));
        assert_eq!(maybe(None, fine), "-");
    }
}
