//! Connections kept and used again, and those that were closed meanwhile.

use std::io::Write;

use super::*;

#[test]
fn a_connection_is_kept_and_its_name_looked_up_once() {
    let receiver = Scripted::start(|stream, _| answer_all(stream, OK));
    let stub = Stub::with("receiver.example", &[&["127.0.0.1"]]);
    let deliverer =
        Deliverer::with_lookup(config(LONG), Arc::clone(&stub) as Arc<dyn Lookup>).unwrap();
    let url = format!("http://receiver.example:{}/", receiver.address.port());
    for _ in 0..10 {
        let outcome = send(&deliverer, &url);
        assert_eq!((outcome.failure, outcome.body), (None, b"ok".to_vec()));
    }
    assert_eq!(receiver.connections(), 1);
    assert_eq!(stub.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_closed_while_idle_is_noticed_before_it_is_used() {
    let receiver = Scripted::start(|stream, _| {
        read_request(stream)?;
        stream.write_all(OK)
    });
    let deliverer = deliverer(LONG);
    for n in 1..=5 {
        assert!(send(&deliverer, &receiver.url()).is_success());
        receiver.wait_for_end();
        assert_eq!(receiver.connections(), n);
    }
}

/// The receiver closes its idle connection in the moment our request is on its way.
#[test]
fn a_request_that_met_a_closing_connection_is_sent_again_on_a_new_one() {
    let receiver = Scripted::start(|stream, number| {
        read_request(stream)?;
        stream.write_all(OK)?;
        read_request(stream)?;
        if number == 0 { Ok(()) } else { stream.write_all(OK) }
    });
    let deliverer = deliverer(LONG);
    assert!(send(&deliverer, &receiver.url()).is_success());
    assert!(send(&deliverer, &receiver.url()).is_success());
    assert_eq!(receiver.connections(), 2);
}

#[test]
fn a_request_is_sent_again_only_once_and_never_after_a_byte_of_answer() {
    // Closes every connection at its second request: the second try is on a new connection, for
    // which it is the first request, so it is answered; hence a script that closes new ones too.
    let receiver = Scripted::start(|stream, number| {
        read_request(stream)?;
        if number == 0 {
            stream.write_all(OK)?;
            read_request(stream)?;
        }
        Ok(())
    });
    let first = deliverer(LONG);
    assert!(send(&first, &receiver.url()).is_success());
    let outcome = send(&first, &receiver.url());
    assert_eq!(outcome.failure.map(|it| it.code()), Some("connection_closed"));
    assert_eq!(receiver.connections(), 2);

    let receiver = Scripted::start(|stream, _| {
        read_request(stream)?;
        stream.write_all(OK)?;
        read_request(stream)?;
        stream.write_all(b"H")
    });
    let second = deliverer(LONG);
    assert!(send(&second, &receiver.url()).is_success());
    let outcome = send(&second, &receiver.url());
    assert_eq!(outcome.failure.map(|it| it.code()), Some("connection_closed"));
    assert_eq!(receiver.connections(), 1);
}

#[test]
fn a_connection_with_an_answer_nobody_asked_for_is_not_used_again() {
    let (sender, forged) = channel();
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let receiver = Scripted::start(move |stream, number| {
        read_request(stream)?;
        stream.write_all(OK)?;
        if number == 0 {
            // Meant to be taken for the answer to the next request.
            held.lock().unwrap().recv().ok();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged")?;
            sender.send(()).ok();
        }
        drain(stream)
    });
    let deliverer = deliverer(LONG);
    assert!(send(&deliverer, &receiver.url()).is_success());
    // Only now, while the connection is idle: loopback has delivered it when the write is done.
    release.send(()).unwrap();
    forged.recv_timeout(LONG).unwrap();
    let outcome = send(&deliverer, &receiver.url());
    assert_eq!(outcome.body, b"ok");
}

#[test]
fn answers_of_all_kinds_leave_the_connection_usable() {
    let answers: [&[u8]; 4] = [
        b"HTTP/1.1 204 x\r\n\r\n",
        b"HTTP/1.1 500 x\r\ncontent-length: 3\r\n\r\nbad",
        b"HTTP/1.1 302 x\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    ];
    for answer in answers {
        let receiver = Scripted::start(move |stream, _| answer_all(stream, answer));
        let deliverer = deliverer(LONG);
        let first = send(&deliverer, &receiver.url());
        let second = send(&deliverer, &receiver.url());
        assert_eq!((first.status, &first.body), (second.status, &second.body));
        assert_eq!(receiver.connections(), 1, "{}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn large_requests_arrive_whole() {
    let receiver = Scripted::start(|stream, _| {
        loop {
            let (_, body) = read_request(stream)?;
            let sum = crc32fast::hash(&body).to_string();
            write!(stream, "HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{sum}", sum.len())?;
        }
    });
    let deliverer = deliverer(LONG);
    let url = receiver.url();
    // Around the sizes of the buffers, and well past them.
    for size in [0, 1, 3000, 5000, 7000, 8191, 8192, 8193, 16_384, 100_000, 1 << 20] {
        let body: Vec<u8> = (0..size).map(|i: u32| i.to_le_bytes()[i as usize % 2]).collect();
        let outcome = deliverer.attempt(&Job { body: &body, ..job(&url) });
        let sum = crc32fast::hash(&body).to_string();
        assert_eq!(String::from_utf8_lossy(&outcome.body), sum, "{size}: {outcome:?}");
    }
    assert_eq!(receiver.connections(), 1);
}
