//! How an error is put into words: with the whole chain of its causes, each of them once.
//!
//! Every log line, status entry and exit message of the syncer goes through [`chain`]. It also adds what the causes
//! leave out and a person needs: the limit that was reached when there are no more file descriptors, and the text of a
//! gRPC status, which prints itself for programs.

use std::error::Error;
use std::io;

use nix::sys::resource::{Resource, getrlimit};
use tonic::Status;

/// An error with its causes, from the outside in, joined by colons.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = link(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = link(error);
        // Some errors repeat their cause in their own text.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn link(error: &(dyn Error + 'static)) -> String {
    let boxed = error.downcast_ref::<Box<Status>>().map(AsRef::as_ref);
    if let Some(status) = boxed.or_else(|| error.downcast_ref()) {
        return status.message().to_owned();
    }
    let out_of_files = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error)
        .is_some_and(|code| code == nix::errno::Errno::EMFILE as i32);
    if out_of_files {
        return format!("too many open files: {}", file_limit());
    }
    error.to_string()
}

fn file_limit() -> String {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) => format!("the limit of this process is {soft} (LimitNOFILE, ulimit -n)"),
        Err(_) => "the limit of this process is reached (LimitNOFILE, ulimit -n)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<dyn Error + Send + Sync>>,
    }

    fn layer(text: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Layer {
        Layer {
            text,
            source: Some(source.into()),
        }
    }

    #[test]
    fn causes_are_joined_and_a_repeated_one_is_left_out() {
        let inner = layer("connection refused", io::Error::other("by the peer"));
        let outer = layer("no answer", layer("no answer: connection refused", inner));
        assert_eq!(
            chain(&outer),
            "no answer: no answer: connection refused: by the peer"
        );
    }

    #[test]
    fn too_many_open_files_are_named_with_the_limit() {
        let cause = io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32);
        let text = chain(&layer("tcp connect error", cause));
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(
            text.starts_with("tcp connect error: too many open files: ")
                && text.contains(&soft.to_string()),
            "{text}"
        );
    }

    #[test]
    fn a_grpc_status_gives_its_message_alone() {
        let status = Status::unavailable("the director is starting");
        assert_eq!(
            chain(&layer("no stream", status)),
            "no stream: the director is starting"
        );
    }
}
