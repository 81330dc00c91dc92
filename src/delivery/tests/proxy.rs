//! Through a proxy: HTTP and SOCKS5, with and without a login, and proxies that refuse.

use std::sync::mpsc::sync_channel;

use super::*;

/// Settings with a proxy at this address.
fn through(scheme: &str, proxy: &Scripted, login: &str) -> Deliverer {
    let mut config = config(LONG);
    config.proxy = Some(format!("{scheme}://{login}{}", proxy.address).parse().unwrap());
    // The proxy resolves: nothing may be looked up here.
    Deliverer::with_lookup(config, Arc::new(Stub::default())).unwrap()
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    Ok(read_request(stream)?.0)
}

#[test]
fn an_http_proxy_is_asked_to_connect_and_the_tunnel_is_kept() {
    let (sender, heads) = sync_channel(4);
    let proxy = Scripted::start(move |stream, _| {
        sender.send(read_head(stream)?).ok();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n")?;
        answer_all(stream, OK)
    });
    let deliverer = through("http", &proxy, "us:p%40ss@");
    for _ in 0..2 {
        assert_eq!(send(&deliverer, "http://receiver.example:81/x").failure, None);
    }
    let head = heads.recv_timeout(LONG).unwrap();
    assert!(head.starts_with("CONNECT receiver.example:81 HTTP/1.1\r\n"), "{head}");
    // base64 of us:p@ss
    assert!(head.contains("proxy-authorization: Basic dXM6cEBzcw==\r\n"), "{head}");
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn a_socks_proxy_gets_the_name_and_the_login() {
    let proxy = Scripted::start(|stream, _| {
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting)?;
        assert_eq!(greeting, [5, 1, 2]);
        stream.write_all(&[5, 2])?;
        let mut login = [0; 7];
        stream.read_exact(&mut login)?;
        assert_eq!(&login, b"\x01\x02us\x02pw");
        stream.write_all(&[1, 0])?;
        let mut ask = [0; 5 + 16 + 2];
        stream.read_exact(&mut ask)?;
        assert_eq!(&ask, b"\x05\x01\x00\x03\x10receiver.example\x00\x50");
        stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80])?;
        answer_all(stream, OK)
    });
    let outcome = send(&through("socks5", &proxy, "us:pw@"), "http://receiver.example/x");
    assert_eq!(outcome.failure, None);
}

#[test]
fn a_proxy_that_refuses_is_told_from_a_receiver_that_does() {
    type Script = fn(&mut TcpStream) -> io::Result<()>;
    let http: [(Script, &str); 4] = [
        (|it| it.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "proxy"),
        (|it| it.write_all(b"HTTP/1.1 407 x\r\n\r\n"), "proxy"),
        (|it| it.write_all(b"SSH-2.0-OpenSSH\r\n\r\n"), "proxy"),
        (|it| it.write_all(&[b'x'; 5000]), "proxy"),
    ];
    for (script, code) in http {
        let proxy = Scripted::start(move |stream, _| {
            read_head(stream)?;
            script(stream)?;
            drain(stream)
        });
        let outcome = send(&through("http", &proxy, ""), "http://receiver.example/");
        assert_eq!(outcome.failure.as_ref().map(Failure::code), Some(code), "{outcome:?}");
    }
    for (answer, code) in
        [(2, "proxy"), (4, "network_unreachable"), (5, "connection_refused"), (1, "proxy")]
    {
        let proxy = Scripted::start(move |stream, _| {
            stream.read_exact(&mut [0; 3])?;
            stream.write_all(&[5, 0])?;
            stream.read_exact(&mut [0; 23])?;
            stream.write_all(&[5, answer, 0, 1, 0, 0, 0, 0, 0, 0])?;
            drain(stream)
        });
        let outcome = send(&through("socks5", &proxy, ""), "http://receiver.example/");
        assert_eq!(outcome.failure.as_ref().map(Failure::code), Some(code), "{outcome:?}");
    }
}

#[test]
fn literal_addresses_are_vetted_before_the_proxy_hears_of_them() {
    let proxy = Scripted::start(|stream, _| drain(stream));
    let deliverer = through("http", &proxy, "");
    for url in ["http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/"] {
        let outcome = send(&deliverer, url);
        assert_eq!(outcome.failure.as_ref().map(Failure::code), Some("address_refused"), "{url}");
    }
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_proxy_that_is_not_there_may_be_our_own_network() {
    let mut config = config(LONG);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.proxy = Some(format!("http://{free}").parse().unwrap());
    let outcome = send(&Deliverer::new(config).unwrap(), "http://receiver.example/");
    assert_eq!(outcome.failure.as_ref().map(Failure::code), Some("proxy"));
    assert!(outcome.is_network_down());
}
