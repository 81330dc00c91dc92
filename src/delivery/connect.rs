//! Opening a connection: resolve, vet, dial, proxy, TLS, all inside the deadline of the attempt.
//!
//! This is the only place that dials a receiver. The HTTP client calls it when its pool has no
//! connection for a request.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;
use ureq::http::Uri;
use ureq::unversioned::transport::{ConnectionDetails, Connector};

use super::classify::{Carried, io_failure};
use super::proxy::{self, Proxy};
use super::resolver::Names;
use super::wire::Wire;
use super::{tls, trace};
use crate::model::outcome::{Failure, Phase};

/// Opens connections.
#[derive(Debug)]
pub struct Dialler {
    /// Resolves and vets.
    pub names: Arc<Names>,
    /// What all TLS sessions share.
    pub tls: Arc<ClientConfig>,
    /// The operator's proxy, when there is one.
    pub proxy: Option<Arc<Proxy>>,
}

impl Connector for Dialler {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<Wire>, ureq::Error> {
        self.open(details.uri).map(Some).map_err(Carried::pack)
    }
}

impl Dialler {
    fn open(&self, uri: &Uri) -> Result<Wire, Failure> {
        trace::update(|it| {
            it.fresh = true;
            it.phase = Phase::Resolve;
        });
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = match &self.proxy {
            None => dial(&self.names.resolve(host, port, trace::time_left())?)?,
            Some(proxy) => self.dial_through(proxy, host, port)?,
        };
        let session = if is_tls {
            trace::update(|it| it.phase = Phase::Tls);
            Some(tls::handshake(&self.tls, host, &stream)?)
        } else {
            None
        };
        Ok(Wire::new(stream, session))
    }

    /// Behind a proxy the proxy resolves names, so only literal addresses can be vetted, and
    /// `url` did that.
    fn dial_through(&self, proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let via = self.names.resolve_unvetted(&proxy.host, proxy.port, trace::time_left());
        let stream = via.and_then(|it| dial(&it)).map_err(|failure| {
            if matches!(failure, Failure::Timeout { .. }) {
                return failure;
            }
            Failure::Proxy { detail: failure.to_string() }
        })?;
        proxy::open_tunnel(proxy, &stream, host, port)?;
        Ok(stream)
    }
}

/// Connects to the first address that takes the connection. Each gets an equal share of the time
/// that is left, so that a dead first address leaves time for the next.
fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    trace::update(|it| it.phase = Phase::Connect);
    let mut worst = Failure::NetworkUnreachable;
    for (i, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let share = trace::time_left() / untried;
        if share.is_zero() {
            return Err(Failure::Timeout { phase: Phase::Connect });
        }
        match TcpStream::connect_timeout(address, share).and_then(prepare) {
            Ok(stream) => return Ok(stream),
            Err(e) => {
                // A machine without IPv6 finds every IPv6 address unreachable. That must not hide
                // what the other addresses said.
                let failure = io_failure(&e, Phase::Connect);
                if worst == Failure::NetworkUnreachable {
                    worst = failure;
                }
            }
        }
    }
    Err(worst)
}

fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
