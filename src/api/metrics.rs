//! `GET /metrics`: figures in the text format of Prometheus.
//!
//! They are of the whole process, so only an operator of the first organisation sees them. Nothing
//! is computed for them while messages flow: reading takes what was counted.

use std::fmt::Write as _;

use super::Api;
use super::caller::Caller;
use super::error::ApiError;
use super::reply::Reply;
use super::request::Request;
use super::routes::Answer;
use crate::model::id::OrgId;

/// The version of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn get(api: &Api, request: &Request) -> Answer {
    let caller = Caller::of(api, request)?;
    caller.operator()?;
    if caller.org != OrgId::default_org() {
        return Err(ApiError::forbidden());
    }
    let mut reply = Reply::bytes(200, text(api));
    reply.content_type = CONTENT_TYPE;
    Ok(reply)
}

fn text(api: &Api) -> String {
    let (counters, counts) = (api.store.counters(), api.board.counts());
    let mut page = Page(String::with_capacity(2048));
    page.counter("messages_accepted", "Messages accepted.", &[("", counters.accepted.get())]);
    page.counter(
        "attempts",
        "Attempts at deliveries that were recorded.",
        &[
            ("{outcome=\"succeeded\"}", counters.succeeded.get()),
            ("{outcome=\"failed\"}", counters.failed.get()),
        ],
    );
    let exhausted = counters.exhausted.get();
    page.counter("deliveries_exhausted", "Deliveries given up.", &[("", exhausted)]);
    let text = "Endpoints that were paused.";
    page.counter("endpoint_pauses", text, &[("", counters.paused.get())]);
    let text = "Endpoints that were disabled for their failures.";
    page.counter("endpoints_disabled", text, &[("", counters.disabled.get())]);
    let text = "Writes refused for want of room.";
    page.counter("refused_for_room", text, &[("", counters.refused_for_room.get())]);
    let text = "How often the disk was waited for.";
    page.counter("disk_syncs", text, &[("", api.store.disk_syncs())]);
    page.counter(
        "inbound_requests",
        "Requests to sources.",
        &[
            ("{outcome=\"accepted\"}", counters.inbound_accepted.get()),
            ("{outcome=\"refused\"}", counters.inbound_refused.get()),
        ],
    );
    page.gauge("endpoints_paused", "Endpoints that are paused now.", api.board.paused() as u64);
    page.gauge("attempts_in_flight", "Attempts being made.", counts.in_flight as u64);
    page.gauge("offline", "1 while no endpoint can be reached.", u64::from(counts.offline));
    page.gauge("store_bytes", "Bytes of the store on disk.", api.store.size_on_disk());
    page.gauge("disk_free_bytes", "Bytes free where the store lies.", api.store.space().free());
    page.0
}

/// The text as far as it is written.
struct Page(String);

impl Page {
    /// A figure that only grows, with its labels.
    fn counter(&mut self, name: &str, help: &str, values: &[(&str, u64)]) {
        self.head(name, "_total", help, "counter");
        for (labels, value) in values {
            self.line(format_args!("posthaste_{name}_total{labels} {value}"));
        }
    }

    /// A figure of the present moment.
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "", help, "gauge");
        self.line(format_args!("posthaste_{name} {value}"));
    }

    fn head(&mut self, name: &str, suffix: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP posthaste_{name}{suffix} {help}"));
        self.line(format_args!("# TYPE posthaste_{name}{suffix} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text does not fail.
        writeln!(self.0, "{line}").ok();
    }
}
