use std::fs;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

/// A FIFO as the agent makes it, in a log directory of its own.
fn fifo() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".web.stdout.fifo");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let path = path.display().to_string();
    (dir, path)
}

fn live_file(dir: &Path) -> String {
    fs::read_to_string(dir.join("web.stdout.0")).unwrap_or_default()
}

#[tokio::test]
async fn everything_arrives_in_order_though_the_reader_comes_late() {
    let (_dir, path) = fifo();
    let lines: Vec<_> = (0..10_000).map(|n| Bytes::from(format!("{n}\n"))).collect();
    let expected = lines.concat();
    let mut sink = Sink::new(&path);
    let writer = tokio::spawn(async move {
        for batch in lines.chunks(100) {
            sink.write(batch).await;
        }
    });
    sleep(Duration::from_millis(120)).await;
    let reader = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        fs::File::open(path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    });
    writer.await.unwrap();
    assert_eq!(reader.await.unwrap().into_bytes(), expected);
}

#[tokio::test]
async fn a_reader_that_has_ended_is_noticed_and_the_files_are_written_instead() {
    let (dir, path) = fifo();
    // Open, but nobody reads: what logmon looks like after its last writer went.
    let _deaf = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut sink = Sink::new(&path);
    sink.write(&[Bytes::from_static(b"one\n")]).await;
    assert_eq!(live_file(dir.path()), "");
    // Looks until it has noticed, then goes on for ever.
    let noticed = async {
        while live_file(dir.path()).is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = sink.watch() => {}
        () = noticed => {}
    }
    sink.write(&[Bytes::from_static(b"two\n")]).await;
    assert_eq!(live_file(dir.path()), "one\ntwo\n");
}

#[tokio::test]
async fn what_an_earlier_process_left_unread_in_the_pipe_is_taken_out() {
    let (dir, path) = fifo();
    let mut deaf = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    std::io::Write::write_all(&mut deaf, b"left over\n").unwrap();
    let mut sink = Sink::new(&path);
    sink.settle().await;
    sink.write(&[Bytes::from_static(b"new\n")]).await;
    let mut got = [0; 4];
    deaf.read_exact(&mut got).unwrap();
    assert_eq!((&got, live_file(dir.path()).as_str()), (b"new\n", ""));
}

#[test]
fn logs_that_are_switched_off_have_no_paths() {
    let task = |stdout: &str, stderr: &str| TaskConfig {
        stdout_path: stdout.into(),
        stderr_path: stderr.into(),
        ..TaskConfig::default()
    };
    assert_eq!(Paths::of(&task("/dev/null", "/dev/null"), false), None);
    assert!(Paths::of(&task("/a", "/b"), false).is_some());
    assert_eq!(Paths::of(&task("/a", "/b"), true), None);
}
