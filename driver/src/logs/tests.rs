use std::io::Read;
use std::time::Duration;

use futures_util::stream;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

fn chunk(source: Source, text: &str) -> Chunk {
    Chunk {
        source,
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// Two FIFOs in a directory of their own.
fn fifos() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let [stdout, stderr] = ["out", "err"].map(|name| {
        let path = dir.path().join(name);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        path.display().to_string()
    });
    (dir, Paths { stdout, stderr })
}

fn read(path: &str) -> tokio::task::JoinHandle<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::fs::File::open(path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    })
}

#[tokio::test]
async fn both_streams_arrive_whole_and_in_order_though_the_reader_comes_late() {
    let (_dir, paths) = fifos();
    let lines: Vec<_> = (0..10_000)
        .map(|n| {
            chunk(
                if n % 3 == 0 {
                    Source::Stderr
                } else {
                    Source::Stdout
                },
                &format!("{n}\n"),
            )
        })
        .collect();
    let text = |wanted| {
        lines
            .iter()
            .filter(|line| line.source == wanted)
            .map(|line| String::from_utf8_lossy(&line.bytes))
            .collect::<String>()
    };
    let (expected_out, expected_err) = (text(Source::Stdout), text(Source::Stderr));
    let output = stream::iter(lines.clone().into_iter().map(Ok)).boxed();

    let pump = tokio::spawn(pump(output, paths.clone(), CancellationToken::new()));
    tokio::time::sleep(Duration::from_millis(120)).await;
    let (out, err) = (read(&paths.stdout), read(&paths.stderr));
    pump.await.unwrap();
    assert_eq!(
        (out.await.unwrap(), err.await.unwrap()),
        (expected_out, expected_err)
    );
}

#[tokio::test]
async fn a_pump_without_a_reader_can_be_cancelled() {
    let (_dir, paths) = fifos();
    let cancel = CancellationToken::new();
    let pump = tokio::spawn(pump(stream::pending().boxed(), paths, cancel.clone()));
    cancel.cancel();
    tokio::time::timeout(Duration::from_secs(5), pump)
        .await
        .unwrap()
        .unwrap();
}

#[test]
fn logs_that_are_switched_off_have_no_paths() {
    let off = nomad_driver_sdk::TaskConfig {
        stdout_path: "/dev/null".into(),
        stderr_path: "/dev/null".into(),
        ..Default::default()
    };
    assert_eq!(Paths::of(&off, false), None);
    let on = nomad_driver_sdk::TaskConfig {
        stdout_path: "/a".into(),
        stderr_path: "/b".into(),
        ..Default::default()
    };
    assert!(Paths::of(&on, false).is_some());
    assert_eq!(Paths::of(&on, true), None);
}
