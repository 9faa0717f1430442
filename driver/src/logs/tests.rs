use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::time::Instant;

use super::directory::Directory;
use super::*;

const FIFO: &str = ".web.stdout.fifo";
const WAIT_MAX: Duration = Duration::from_secs(20);

/// A log directory with a FIFO as the agent makes it, and what the user was told.
struct World {
    folder: tempfile::TempDir,
    reports: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        mkfifo(&folder.path().join(FIFO), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        Self {
            folder,
            reports: Arc::default(),
        }
    }

    fn sink(&self) -> Sink {
        let directory = Directory::open(Path::new(""), self.folder.path()).unwrap();
        let place = LogPlace {
            directory: Arc::new(directory),
            stdout: FIFO.to_owned(),
            stderr: String::new(),
        };
        let reports = Arc::clone(&self.reports);
        let report = Arc::new(move |words| reports.lock().unwrap().push(words));
        Sink::new(&place, FIFO, report)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Open, but nobody reads: what logmon looks like after its last writer went.
    fn deaf(&self) -> File {
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(O_NONBLOCK);
        options.open(self.path(FIFO)).unwrap()
    }

    fn live_file(&self) -> String {
        fs::read_to_string(self.path("web.stdout.0")).unwrap_or_default()
    }

    /// Looks after the sink until the live file is so.
    async fn becomes(&self, sink: &mut Sink, expected: &str) {
        let end = Instant::now() + WAIT_MAX;
        while self.live_file() != expected {
            assert!(
                Instant::now() < end,
                "{:?}, not {expected:?}",
                self.live_file()
            );
            let _ = timeout(Duration::from_millis(50), sink.watch()).await;
            sink.attend().await;
        }
    }
}

/// What becomes of the bytes that a collector reads.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    Forward,
    Drop,
}

/// As logmon: copies from the FIFO into the live file, until it is ended.
struct Collector {
    over: Arc<AtomicBool>,
    thread: JoinHandle<File>,
}

impl Collector {
    fn start(world: &World, memory: Memory) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut from, until) = (world.deaf(), Arc::clone(&over));
        let file = world.path("web.stdout.0");
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            while !until.load(Ordering::Relaxed) {
                match from.read(&mut buffer) {
                    Ok(count) if count > 0 => {
                        if memory == Memory::Forward {
                            let mut options = OpenOptions::new();
                            let mut to = options.create(true).append(true).open(&file).unwrap();
                            to.write_all(&buffer[..count]).unwrap();
                        }
                    }
                    Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                    _ => thread::sleep(Duration::from_millis(1)),
                }
            }
            from
        });
        Self { over, thread }
    }

    /// It does not read any more; its end stays open until what is returned is dropped.
    fn end(self) -> File {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn line(text: &'static str) -> [Bytes; 1] {
    [Bytes::from_static(text.as_bytes())]
}

#[tokio::test]
async fn everything_arrives_in_order_though_the_reader_comes_late() {
    let world = World::new();
    let lines: Vec<_> = (0..10_000).map(|n| Bytes::from(format!("{n}\n"))).collect();
    let expected = String::from_utf8(lines.concat()).unwrap();
    let mut sink = world.sink();
    let (mut sink, collector) = tokio::join!(
        async {
            for batch in lines.chunks(100) {
                sink.write(batch).await;
            }
            sink
        },
        async {
            sleep(Duration::from_millis(120)).await;
            Collector::start(&world, Memory::Forward)
        }
    );
    world.becomes(&mut sink, &expected).await;
    collector.end();
}

#[tokio::test]
async fn a_reader_that_has_ended_is_noticed_and_the_files_are_written_instead() {
    let world = World::new();
    let _deaf = world.deaf();
    let mut sink = world.sink();
    sink.write(&line("one\n")).await;
    assert_eq!(world.live_file(), "");
    world.becomes(&mut sink, "one\n").await;
    sink.write(&line("two\n")).await;
    world.becomes(&mut sink, "one\ntwo\n").await;
}

#[tokio::test]
async fn a_flood_is_written_into_the_files_in_few_pieces() {
    let world = World::new();
    let mut sink = world.sink();
    sink.write(&line("one\n")).await;
    assert!(sink.is_aside());
    let before = sink.appends();
    let lines = vec![line("0123456789abcde\n"); 60_000];
    for line in &lines {
        sink.write(line).await;
    }
    sink.finish().await;
    let expected = format!("one\n{}", "0123456789abcde\n".repeat(lines.len()));
    assert!(world.live_file() == expected);
    let appends = sink.appends() - before;
    assert!(appends < 3000, "{appends}");
}

#[tokio::test]
async fn a_reader_that_comes_back_is_noticed_and_nothing_is_there_twice() {
    let world = World::new();
    let deaf = world.deaf();
    let mut sink = world.sink();
    sink.write(&line("one\n")).await;
    world.becomes(&mut sink, "one\n").await;
    drop(deaf);
    let collector = Collector::start(&world, Memory::Forward);
    let mut expected = "one\n".to_owned();
    let end = Instant::now() + WAIT_MAX;
    // By whom a line was written shows in what happens when nobody reads: a collector's line is not there at once.
    while sink.is_aside() {
        assert!(Instant::now() < end, "the reader is not noticed");
        sink.write(&line("tick\n")).await;
        expected.push_str("tick\n");
        sleep(Duration::from_millis(50)).await;
    }
    sink.write(&line("last\n")).await;
    expected.push_str("last\n");
    world.becomes(&mut sink, &expected).await;
    collector.end();
}

#[tokio::test]
async fn what_a_collector_read_and_never_wrote_is_written_again_in_its_place() {
    let world = World::new();
    let mut sink = world.sink();
    let first = Collector::start(&world, Memory::Forward);
    sink.write(&line("one\n")).await;
    world.becomes(&mut sink, "one\n").await;
    let forgetful = Collector::start(&world, Memory::Drop);
    drop(first.end());
    sink.write(&line("two\n")).await;
    while sink.unread() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(forgetful.end());
    let (mut sink, last) = tokio::join!(
        async {
            sink.write(&line("three\n")).await;
            sink
        },
        async {
            sleep(Duration::from_millis(300)).await;
            Collector::start(&world, Memory::Forward)
        }
    );
    sink.write(&line("four\n")).await;
    world.becomes(&mut sink, "one\ntwo\nthree\nfour\n").await;
    last.end();
}

#[tokio::test]
async fn what_waits_in_the_pipe_outlives_the_moment_without_a_reader() {
    let world = World::new();
    let deaf = world.deaf();
    let mut sink = world.sink();
    sink.write(&line("one\n")).await;
    sink.write(&line("two\n")).await;
    // The agent has the collector open the FIFO anew.
    drop(deaf);
    let (mut sink, collector) = tokio::join!(
        async {
            sink.write(&line("three\n")).await;
            sink
        },
        async {
            sleep(Duration::from_millis(100)).await;
            Collector::start(&world, Memory::Forward)
        }
    );
    world.becomes(&mut sink, "one\ntwo\nthree\n").await;
    collector.end();
}

#[tokio::test]
async fn a_loss_that_nobody_noticed_is_made_good_when_the_task_is_quiet() {
    let world = World::new();
    let mut sink = world.sink();
    let forgetful = Collector::start(&world, Memory::Drop);
    sink.write(&line("one\n")).await;
    while sink.unread() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let collector = Collector::start(&world, Memory::Forward);
    drop(forgetful.end());
    world.becomes(&mut sink, "one\n").await;
    collector.end();
}

#[tokio::test]
async fn the_last_lines_of_a_task_arrive_though_nobody_reads_any_more() {
    let world = World::new();
    let _deaf = world.deaf();
    let mut sink = world.sink();
    sink.write(&line("last words\n")).await;
    sink.finish().await;
    assert_eq!(world.live_file(), "last words\n");
}

#[tokio::test]
async fn what_an_earlier_process_left_unread_in_the_pipe_is_taken_out() {
    let world = World::new();
    let mut deaf = world.deaf();
    let earlier = OpenOptions::new().write(true).open(world.path(FIFO));
    let mut earlier = earlier.unwrap();
    earlier.write_all(b"left over\n").unwrap();
    let mut sink = world.sink();
    sink.settle().await;
    sink.write(&line("new\n")).await;
    let mut content = [0; 4];
    deaf.read_exact(&mut content).unwrap();
    assert_eq!((&content, world.live_file().as_str()), (b"new\n", ""));
}

/// One worker, as busy as it gets: it must come round all the time.
#[tokio::test]
async fn a_fifo_in_place_of_a_log_file_freezes_nobody_and_costs_the_job_its_own_log() {
    let world = World::new();
    let _deaf = world.deaf();
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    mkfifo(&world.path("web.stdout.1"), mode).unwrap();
    let mut sink = world.sink();
    let output = vec![Bytes::from(vec![b'x'; 64 * 1024]); 48];
    let mut longest = Duration::ZERO;
    let neighbours = async {
        loop {
            let before = Instant::now();
            sleep(Duration::from_millis(10)).await;
            longest = longest.max(before.elapsed());
        }
    };
    tokio::select! {
        outcome = timeout(WAIT_MAX, sink.write(&output)) => outcome.unwrap(),
        () = neighbours => {}
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    let reports = world.reports.lock().unwrap().clone();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains("web.stdout.1"), "{reports:?}");
}

#[tokio::test]
async fn a_link_in_place_of_a_log_file_leads_nowhere() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    symlink(&victim, world.path("web.stdout.0")).unwrap();
    let mut sink = world.sink();
    sink.write(&line("forged\n")).await;
    assert!(!victim.exists());
    assert_eq!(world.reports.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_endless_device_in_place_of_the_fifo_is_not_read() {
    let world = World::new();
    fs::remove_file(world.path(FIFO)).unwrap();
    symlink("/dev/zero", world.path(FIFO)).unwrap();
    let mut sink = world.sink();
    timeout(WAIT_MAX, sink.settle()).await.unwrap();
    timeout(WAIT_MAX, sink.write(&line("one\n"))).await.unwrap();
    assert_eq!(world.live_file(), "one\n");
}

#[tokio::test]
async fn a_pipe_that_somebody_keeps_filling_is_emptied_once_and_not_for_ever() {
    let world = World::new();
    let deaf = world.deaf();
    let over = Arc::new(AtomicBool::new(false));
    let (until, mut into) = (
        Arc::clone(&over),
        OpenOptions::new()
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(world.path(FIFO))
            .unwrap(),
    );
    let filler = thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            let _ = into.write(&vec![b'x'; 64 * 1024]);
        }
    });
    let mut sink = world.sink();
    timeout(WAIT_MAX, sink.settle()).await.unwrap();
    timeout(WAIT_MAX, sink.write(&line("one\n"))).await.unwrap();
    over.store(true, Ordering::Relaxed);
    filler.join().unwrap();
    drop(deaf);
}
