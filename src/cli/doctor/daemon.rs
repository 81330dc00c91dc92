//! The half of the doctor that asks the daemon: is it there, is it well, does a token work.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use super::{Finding, State};
use crate::api::auth::{self, DEFAULT_ORG, Subject};
use crate::cli::now_secs;
use crate::cli::settings::jwt_secret;
use crate::client::{Client, ClientError, Route};
use crate::config::Config;

/// How long the token of the check is good.
const TOKEN_TTL: Duration = Duration::from_secs(60);

/// Everything about the daemon.
pub(super) fn look(config: &Config, server: Option<&str>) -> Vec<Finding> {
    let configured = format!("http://{}", reachable(config.server.listen));
    let server = server.unwrap_or(&configured);
    let client = match Client::new(server, None, None) {
        Ok(client) => client,
        Err(error) => {
            let way_out = "write it like http://127.0.0.1:8071";
            return vec![Finding::not(State::Bad, "daemon", error.to_string(), way_out)];
        }
    };
    match client.get(&Route::new(&["health"])) {
        Ok(_) => vec![
            Finding::good("daemon", format!("answers at {server} and is well")),
            token(config, server),
        ],
        Err(error) if error.is_unreachable() => vec![port(config.server.listen)],
        Err(error) => vec![Finding::not(
            State::Bad,
            "daemon",
            error.to_string(),
            "look at its log, or see what else listens there",
        )],
    }
}

/// Nobody answers: is the port free for a daemon, or does something hold it?
fn port(listen: SocketAddr) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::not(
            State::Down,
            "daemon",
            format!("not running; {listen} is free for it"),
            "`posthaste serve`",
        ),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::not(
            State::Bad,
            "port",
            format!("something holds {listen} and does not answer"),
            "find it with `ss -ltnp`, or choose another server.listen",
        ),
        Err(error) => Finding::not(
            State::Bad,
            "port",
            format!("{listen} cannot be listened on: {error}"),
            "choose another server.listen",
        ),
    }
}

/// Whether the daemon takes a token made with the secret that is configured here.
fn token(config: &Config, server: &str) -> Finding {
    let secret = match jwt_secret(config) {
        Ok(secret) => secret,
        Err(error) => {
            let found = format!("none to try: {error}");
            let way_out = "run as the user who owns the data folder, or pass its --data";
            return Finding::not(State::Warning, "token", found, way_out);
        }
    };
    let subject = Subject::Org(DEFAULT_ORG.to_owned());
    let token = auth::mint(&secret, &subject, now_secs(), TOKEN_TTL);
    let answer = Client::new(server, Some(&token), None)
        .and_then(|client| client.get(&Route::new(&["app"]).query("limit", "1")));
    match answer {
        Ok(_) => Finding::good("token", "one made here is accepted"),
        Err(error) => {
            let way_out = match ClientError::status(&error) {
                Some(401) => "the daemon uses another secret: pass its --config or --data",
                Some(_) | None => "look at the daemon's log",
            };
            Finding::not(State::Bad, "token", error.to_string(), way_out)
        }
    }
}

/// An address to connect to: "every interface" is no destination.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_reached_over_loopback() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:80", "127.0.0.1:80");
        check("[::]:80", "[::1]:80");
        check("192.0.2.1:80", "192.0.2.1:80");
    }

    #[test]
    fn a_free_port_and_a_held_one_are_told_apart() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        assert_eq!(port(address).state, State::Bad);
        drop(holder);
        assert_eq!(port(address).state, State::Down);
    }
}
