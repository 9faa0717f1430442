//! A refusal as the agent understands it: a sentence for the task's event, and whether trying again can help.

use std::fmt::{Display, Write};

use nomad_ipvs_proto::structs::RecoverableError;
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

/// Part of Nomad's contract, unlike the package names of our own files.
const RECOVERABLE_TYPE: &str =
    "type.googleapis.com/hashicorp.nomad.plugins.shared.structs.RecoverableError";

/// The answer of a driver that can't do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    message: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Final,
    Recoverable,
    Unsupported,
}

/// `google.rpc.Status`, which gRPC carries in the `grpc-status-details-bin` trailer.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

impl DriverError {
    /// Trying again can't help: the task fails.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: Kind::Final,
        }
    }

    /// Trying again may help: the job's restart policy decides. Only StartTask's answer is read this way.
    pub fn recoverable(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: Kind::Recoverable,
        }
    }

    /// The driver has no such ability.
    pub fn unsupported(what: impl Display) -> Self {
        Self {
            message: format!("{what} is not supported by this driver"),
            kind: Kind::Unsupported,
        }
    }

    /// `context: error: its cause: …` from any error.
    pub fn from_error(context: impl Display, error: &dyn std::error::Error) -> Self {
        Self::new(format!("{context}: {}", chain(error)))
    }

    pub fn is_recoverable(&self) -> bool {
        self.kind == Kind::Recoverable
    }

    /// The same refusal, worth another try.
    #[must_use]
    pub fn into_recoverable(self) -> Self {
        Self {
            kind: Kind::Recoverable,
            ..self
        }
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String can't fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

impl From<DriverError> for Status {
    fn from(error: DriverError) -> Self {
        match error.kind {
            // The code that Go plugins end up with, so users see the same text around the message. Never Unavailable
            // or Canceled: the agent then waits to see whether the plugin died.
            Kind::Final => Status::unknown(error.message),
            Kind::Unsupported => Status::unimplemented(error.message),
            Kind::Recoverable => {
                let detail = Any {
                    type_url: RECOVERABLE_TYPE.to_owned(),
                    value: RecoverableError { recoverable: true }.encode_to_vec(),
                };
                let code = Code::FailedPrecondition;
                let status = RpcStatus {
                    code: code.into(),
                    message: error.message.clone(),
                    details: vec![detail],
                };
                Status::with_details(code, error.message, status.encode_to_vec().into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recoverable_error_carries_the_detail_nomad_looks_for() {
        let status = Status::from(DriverError::recoverable("engine is starting"));
        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!(details.details[0].type_url, RECOVERABLE_TYPE);
        assert!(
            RecoverableError::decode(details.details[0].value.as_slice())
                .unwrap()
                .recoverable
        );
        assert_eq!(status.message(), "engine is starting");
    }

    #[test]
    fn a_final_error_carries_none() {
        let status = Status::from(DriverError::new("no such image"));
        assert!(status.details().is_empty());
        assert_eq!(status.code(), Code::Unknown);
    }
}
