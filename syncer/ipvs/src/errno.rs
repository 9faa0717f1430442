//! The numbers that IPVS answers with (`errno.h`, the same on all our targets).

pub const EPERM: i32 = 1;
pub const ENOENT: i32 = 2;
pub const ESRCH: i32 = 3;
pub const EEXIST: i32 = 17;
pub const EINVAL: i32 = 22;
pub const ERANGE: i32 = 34;
pub const EAFNOSUPPORT: i32 = 97;
pub const ENOBUFS: i32 = 105;
