//! Numbers of `include/uapi/linux/{netlink,genetlink,ip_vs}.h`.

pub const NLM_F_REQUEST: u16 = 0x1;
pub const NLM_F_ACK: u16 = 0x4;
pub const NLM_F_DUMP: u16 = 0x300;
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
pub const NLA_TYPE_MASK: u16 = 0x3fff;

pub const GENL_ID_CTRL: u16 = 0x10;
pub const CTRL_CMD_GETFAMILY: u8 = 3;
pub const CTRL_ATTR_FAMILY_ID: u16 = 1;
pub const CTRL_ATTR_FAMILY_NAME: u16 = 2;
pub const IPVS_GENL_NAME: &[u8] = b"IPVS\0";
pub const IPVS_GENL_VERSION: u8 = 1;

pub const CMD_NEW_SERVICE: u8 = 1;
pub const CMD_SET_SERVICE: u8 = 2;
pub const CMD_DEL_SERVICE: u8 = 3;
pub const CMD_GET_SERVICE: u8 = 4;
pub const CMD_NEW_DEST: u8 = 5;
pub const CMD_SET_DEST: u8 = 6;
pub const CMD_DEL_DEST: u8 = 7;
pub const CMD_GET_DEST: u8 = 8;

pub const ATTR_SERVICE: u16 = 1;
pub const ATTR_DEST: u16 = 2;

pub const SVC_AF: u16 = 1;
pub const SVC_PROTOCOL: u16 = 2;
pub const SVC_ADDR: u16 = 3;
pub const SVC_PORT: u16 = 4;
pub const SVC_FWMARK: u16 = 5;
pub const SVC_SCHED_NAME: u16 = 6;
pub const SVC_FLAGS: u16 = 7;
pub const SVC_TIMEOUT: u16 = 8;
pub const SVC_NETMASK: u16 = 9;

pub const DEST_ADDR: u16 = 1;
pub const DEST_PORT: u16 = 2;
pub const DEST_FWD_METHOD: u16 = 3;
pub const DEST_WEIGHT: u16 = 4;
pub const DEST_U_THRESH: u16 = 5;
pub const DEST_L_THRESH: u16 = 6;
pub const DEST_ACTIVE_CONNS: u16 = 7;
pub const DEST_INACT_CONNS: u16 = 8;
pub const DEST_PERSIST_CONNS: u16 = 9;
pub const DEST_ADDR_FAMILY: u16 = 11;
pub const DEST_TUN_TYPE: u16 = 13;
pub const DEST_TUN_PORT: u16 = 14;
pub const DEST_TUN_FLAGS: u16 = 15;

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const SVC_F_PERSISTENT: u32 = 0x1;
pub const FWD_MASK: u32 = 0x7;
