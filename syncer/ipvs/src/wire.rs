//! The generic netlink format of IPVS: bytes in, bytes out, no I/O.
//!
//! [`message`] frames requests and walks replies, [`attribute`] reads and writes attributes, [`encode`] and [`decode`]
//! translate between them and the model. Decoding never panics: input that does not fit is [`Malformed`].

pub mod attribute;
pub mod constant;
pub mod decode;
pub mod encode;
pub mod message;

/// Bytes from the kernel that are not what `include/uapi/linux/ip_vs.h` says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{what} is cut short")]
    Short { what: &'static str },
    #[error("attribute {what} is missing")]
    Missing { what: &'static str },
    #[error("attribute {what} has the unusable value {value}")]
    Value { what: &'static str, value: u64 },
    #[error("a scheduler's name is unusable")]
    Scheduler,
}
