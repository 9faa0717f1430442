//! A stream on loopback, and how what came of it is told.

use super::*;

#[test]
fn what_has_no_answer_is_told_by_when_it_left_and_strangers_answer_nothing() {
    let mut answers = Answers::default();
    for (from_target, text) in [
        (true, "198.18.0.28:4000 a 1"),
        (true, "198.18.0.28:4000 a 2"),
        (true, "198.18.0.28:4000 b 5"),
        (true, "198.18.0.28:4000 b 5"),
        (false, "198.18.0.28:4000 b 6"),
        (true, "what"),
    ] {
        answers.take(from_target, text.as_bytes());
    }
    let outcome = Outcome {
        sent: 8,
        rate: 10,
        answers,
    };
    let counts = (outcome.answered(), outcome.lost(), outcome.from_elsewhere());
    assert_eq!((counts, outcome.servers()), ((3, 5, 2), vec!["a", "b"]));
    assert_eq!(
        outcome.to_string(),
        "5 of 8 datagrams lost, 1 at 0.0 s, 2 at 0.3 s, 2 at 0.6 s"
    );
}

#[test]
fn a_stream_has_its_answers_and_one_that_nobody_answers_has_none() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut datagram = [0; 100];
        while let Ok((length, client)) = server.recv_from(&mut datagram) {
            let number = std::str::from_utf8(&datagram[..length]).unwrap();
            let answer = format!("{client} me {number}");
            // Every other one.
            if number.parse::<u64>().unwrap() % 2 == 0 {
                server.send_to(answer.as_bytes(), client).unwrap();
            }
        }
    });
    let socket = bound(target).unwrap();
    let client = socket.local_addr().unwrap();
    let shared = Shared {
        stop: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        answers: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| listen(&socket, target, &shared));
        let sender = scope.spawn(|| send(&socket, target, 1000, &shared));
        while shared.sent.load(Ordering::Acquire) < 20 {
            std::thread::sleep(Duration::from_millis(1));
        }
        shared.stop.store(true, Ordering::Release);
        sender.join().unwrap().unwrap();
        listener.join().unwrap().unwrap();
    });
    let sent = shared.sent.load(Ordering::Acquire);
    let answers = shared.answers().clone();
    let all = answers.by_number;
    assert_eq!(u64::try_from(all.len()).unwrap(), sent.div_ceil(2));
    assert!(all.values().all(|answer| answer.seen == client));
}

#[test]
fn a_stream_leaves_from_an_address_of_its_targets_family() {
    for target in ["127.0.0.1:7", "[::1]:7"] {
        let target: SocketAddr = target.parse().unwrap();
        let own = bound(target).unwrap().local_addr().unwrap();
        assert_eq!(own.ip(), target.ip());
    }
}
