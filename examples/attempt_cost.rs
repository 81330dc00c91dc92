//! What one attempt costs in CPU on the sending side: N attempts on a pooled connection to a
//! trivial receiver on loopback.
//!
//! `cargo run --release --example attempt_cost -- [attempts] [payload bytes]`
//!
//! Prints microseconds of CPU of the sending thread alone (user and system, from
//! `/proc/thread-self/schedstat`), so the receiver's share is not in it.
#![expect(clippy::print_stdout, reason = "a report is what it is for")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use posthaste::delivery::{AddressPolicy, Deliverer, DeliveryConfig, Job, Trust};
use posthaste::model::secret::SigningKey;

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let attempts: u32 = arguments.next().map_or(Ok(200_000), |it| it.parse())?;
    let payload: usize = arguments.next().map_or(Ok(1024), |it| it.parse())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    std::thread::spawn(move || listener.incoming().flatten().try_for_each(answer));
    let deliverer = Deliverer::new(DeliveryConfig {
        timeout: Duration::from_secs(15),
        policy: AddressPolicy { allow: vec!["127.0.0.0/8".parse()?] },
        https_only: false,
        proxy: None,
        trust: Trust::default(),
        idle_per_endpoint: 16,
    })?;
    let key = SigningKey::symmetric_from_random([7; 32]);
    let body = vec![b'x'; payload];
    let job = Job {
        url: &url,
        message_id: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
        timestamp_secs: 1_767_225_600,
        attempt: 1,
        next_retry: Some(1_767_225_605),
        body: &body,
        content_type: "application/json",
        keys: &[&key],
        headers: &[],
        oauth: None,
        shard: 7,
    };
    for _ in 0..1000 {
        deliverer.attempt(&job);
    }
    let (cpu, start) = (thread_cpu()?, Instant::now());
    for _ in 0..attempts {
        let outcome = deliverer.attempt(&job);
        if let Some(failure) = outcome.failure {
            return Err(failure.to_string().into());
        }
    }
    let (cpu, wall) = (thread_cpu()?.saturating_sub(cpu), start.elapsed());
    let each = cpu.as_secs_f64() * 1e6 / f64::from(attempts);
    let rate = f64::from(attempts) / wall.as_secs_f64();
    println!(
        "{attempts} attempts of {payload} bytes: {each:.1} µs of CPU each, {rate:.0}/s on one thread"
    );
    Ok(())
}

/// CPU time of this thread so far.
fn thread_cpu() -> Result<Duration, Fault> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().ok_or("empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// Answers every request on a connection with an empty 200.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buf = vec![0; 1 << 20];
    let mut filled = 0;
    loop {
        let n = stream.read(buf.get_mut(filled..).unwrap_or_default())?;
        if n == 0 {
            return Ok(());
        }
        filled += n;
        let text = buf.get(..filled).unwrap_or_default();
        let Some(head) = text.windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let length = String::from_utf8_lossy(text.get(..head).unwrap_or_default())
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
            .unwrap_or(0);
        if filled >= head + 4 + length {
            filled = 0;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        }
    }
}
