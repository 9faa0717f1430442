//! Asks the kernel whether it has a generic netlink family, which also makes it load the module.
//!
//! One request and one answer. Not for talking to the family.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// `NLMSG_ERROR`, `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_NAME` and `NLM_F_REQUEST` of
/// include/uapi/linux/netlink.h and genetlink.h.
const ERROR: u16 = 2;
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const REQUEST: u16 = 1;

/// The family resolves here.
///
/// # Errors
/// `NotFound` if the kernel has no such family, anything else if it could not be asked.
pub(crate) fn resolve(family: &str) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )?;
    // Loading a module takes a moment; nothing takes this long.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
    sendto(
        socket.as_raw_fd(),
        &request(family),
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut answer = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    read_answer(&answer[..length])
}

fn request(family: &str) -> Vec<u8> {
    let name = [family.as_bytes(), &[0]].concat();
    let attribute = u16::try_from(4 + name.len()).unwrap_or(u16::MAX);
    let mut body = vec![GET_FAMILY, 1, 0, 0];
    body.extend(attribute.to_ne_bytes());
    body.extend(FAMILY_NAME.to_ne_bytes());
    body.extend(&name);
    body.resize(body.len().next_multiple_of(4), 0);
    let mut message = u32::try_from(16 + body.len())
        .unwrap_or(u32::MAX)
        .to_ne_bytes()
        .to_vec();
    message.extend(CONTROLLER.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    message
}

fn read_answer(message: &[u8]) -> io::Result<()> {
    let short = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel's answer is too short",
        )
    };
    let kind = message.get(4..6).ok_or_else(short)?;
    if kind != ERROR.to_ne_bytes() {
        return Ok(());
    }
    let code = message
        .get(16..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes)
        .ok_or_else(short)?;
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code.saturating_neg()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_itself_resolves_in_every_kernel() {
        resolve("nlctrl").unwrap();
    }

    #[test]
    fn a_family_that_nobody_wrote_is_not_found() {
        assert_eq!(
            resolve("nosuchfamily").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn half_an_answer_is_an_error() {
        let mut refusal = vec![0; 20];
        refusal[4] = 2;
        refusal[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(
            read_answer(&refusal).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        for length in [0, 5, 17] {
            assert_eq!(
                read_answer(&refusal[..length]).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
    }
}
