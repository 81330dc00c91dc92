//! Hostile senders: too large, too slow, too many. Each is cut off at a known cost.
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use super::doors::{github, github_source};
use super::house::{House, limits, read};

#[test]
fn a_body_is_limited_by_its_source_whatever_the_header_says() {
    let house = House::new();
    let source = github_source(&house, |source| source.max_body = 1000);
    let body = |n: usize| vec![b'x'; n];
    for (bytes, status) in [(1000, 200), (1001, 413)] {
        let body = body(bytes);
        let got =
            house.send("POST", &source.path(), &github(&bytes.to_string(), "p", &body), &body);
        assert_eq!(got.status, status, "{bytes}: {}", got.text());
    }
    let larger = github_source(&house, |source| source.max_body = 2 << 20);
    let body = body(1 << 20);
    let got = house.send("POST", &larger.path(), &github("d", "push", &body), &body);
    assert_eq!(got.status, 200, "more than server.max_payload when its source says so");
    assert_eq!(house.payload(&larger, got.message()).len(), 1 << 20);
}

/// Writes `piece` again and again until the other side stops it; the bytes that went out.
fn pour(stream: &mut std::net::TcpStream, piece: &[u8], most: usize) -> usize {
    let mut written = 0;
    while written < most {
        match stream.write(piece) {
            Ok(0) | Err(_) => break,
            Ok(n) => written += n,
        }
    }
    written
}

/// What is read and dropped so that the sender sees the answer, and what the kernel takes in on both
/// sides before a writer notices anything.
const BUFFERS: usize = 40 << 20;

#[test]
fn a_gigabyte_is_cut_off_at_the_limit() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let mut stream = house.connect();
    let head =
        format!("POST {} HTTP/1.1\r\nhost: h\r\ncontent-length: 1073741824\r\n\r\n", source.path());
    stream.write_all(head.as_bytes()).unwrap();
    let written = pour(&mut stream, &vec![b'x'; 65536], 1 << 30);
    assert!(written < BUFFERS, "{written} bytes were taken");

    let mut stream = house.connect();
    let head =
        format!("POST {} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n", source.path());
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 65536], b"\r\n".to_vec()].concat();
    let written = pour(&mut stream, &chunk, 1 << 30);
    assert!(written < BUFFERS, "{written} bytes were taken");
    assert_eq!(house.count(&source), 0);
}

#[test]
fn megabytes_of_headers_are_cut_off() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let mut stream = house.connect();
    let head = format!("POST {} HTTP/1.1\r\nhost: h\r\n", source.path());
    stream.write_all(head.as_bytes()).unwrap();
    let line = format!("x-pad: {}\r\n", "v".repeat(1000));
    let written = pour(&mut stream, line.as_bytes(), 64 << 20);
    assert!(written < BUFFERS, "{written} bytes were taken");
    let mut stream = house.connect();
    let many: Vec<String> = (0..200).map(|n| format!("x-{n}: v\r\n")).collect();
    let many = many.concat();
    let request = format!("{head}{many}content-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    // The HTTP library may close without a word; what counts is that it goes no further.
    let refused = read(stream).map_or(true, |got| got.status == 431);
    assert!(refused, "a request with 200 header fields was answered");
}

#[test]
fn a_signature_for_each_of_a_hundred_keys_fits() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let mut headers = github("d", "push", b"{}");
    headers.extend((1..=100).map(|n| (format!("x-docusign-signature-{n}"), "c2lnbmF0dXJl".into())));
    let got = house.send("POST", &source.path(), &headers, b"{}");
    assert_eq!(got.status, 200, "{}", got.text());
}

#[test]
fn a_slow_sender_is_cut_off() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let began = Instant::now();
    let mut stream = house.connect();
    let head =
        format!("POST {} HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n{{", source.path());
    stream.write_all(head.as_bytes()).unwrap();
    let got = read(stream).unwrap();
    assert_eq!((got.status, got.code().as_str()), (408, "body_timeout"));
    let mut stream = house.connect();
    stream.write_all(b"POST /in/").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).ok();
    assert!(began.elapsed() >= limits().body_timeout, "both times were waited for");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_source_has_a_rate() {
    let house = House::new();
    let source = github_source(&house, |source| source.rate = Some(3));
    let send = |id: usize| {
        let body = b"{}";
        house.send("POST", &source.path(), &github(&id.to_string(), "push", body), body)
    };
    let statuses: Vec<u16> = (0..5).map(|id| send(id).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429], "the clock stands still");
    assert_eq!(send(9).header("retry-after"), Some("1"));
    house.set_clock(1_790_000_001);
    assert_eq!(send(3).status, 200, "a second later the same event is taken");
    assert_eq!(house.count(&source), 4);
}

#[test]
fn refusals_cost_a_bounded_room() {
    let house = House::new();
    let source = github_source(&house, |_| {});
    let body = vec![b'x'; 100 * 1024];
    for second in 0..2 {
        house.set_clock(1_790_000_000 + second);
        for _ in 0..25 {
            let got = house.post(&source, &[("x-hub-signature-256", "sha256=00")], &body);
            assert_eq!(got.status, 401);
        }
    }
    house.refused(&source, 20);
    let kept = house.store.refused(source.id).unwrap();
    assert_eq!(kept.len(), 20, "ten a second are kept, the rest only refused");
    let (id, one) = &kept[0];
    assert_eq!(one.body_bytes, 100 * 1024);
    let whole = house.store.refused_request(source.id, *id).unwrap().unwrap();
    assert!((64 * 1024..80 * 1024).contains(&whole.request.len()), "{}", whole.request.len());
    let path = format!("/ingest/api/v1/source/{}/refused/{id}/verify", source.id);
    let got = house.api("POST", &path, &serde_json::json!({}));
    assert_eq!((got.status, got.code().as_str()), (409, "capture_cut"));
}
