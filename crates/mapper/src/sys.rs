//! The calls to the kernel that no library wraps: loop devices and a few of block devices.
//!
//! The only place with `unsafe` in it. What each number means is in the kernel's `include/uapi/linux/loop.h` and
//! `include/uapi/linux/fs.h`.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};

use linux_raw_sys::ioctl::BLKFLSBUF;
use linux_raw_sys::loop_device::{
    LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, LOOP_SET_CAPACITY, loop_config, loop_info64,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{self, Ioctl, IoctlOutput, NoArg, Opcode, Setter};

/// How a loop device is to be set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopSetup {
    /// Size of a sector in bytes, a power of two from 512 to the page size.
    pub(crate) block_size: u32,
    pub(crate) is_read_only: bool,
    /// Whether the file's page cache is to be bypassed.
    pub(crate) is_direct: bool,
    /// Whether the device is to be given up when the last one closes it.
    pub(crate) is_autoclear: bool,
}

/// The number of a loop device that was free a moment ago. The device is made if there is none.
pub(crate) fn loop_free(control: impl AsFd) -> Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of ours.
    let index = unsafe { ioctl::ioctl(control, ReturnValue::<LOOP_CTL_GET_FREE>) }?;
    u32::try_from(index).map_err(|_| Errno::RANGE)
}

/// Puts `file` behind a loop device.
pub(crate) fn loop_configure(device: impl AsFd, file: impl AsFd, setup: LoopSetup) -> Result<()> {
    let mut config = loop_config {
        fd: u32::try_from(file.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?,
        block_size: setup.block_size,
        info: loop_info64 {
            lo_device: 0,
            lo_inode: 0,
            lo_rdevice: 0,
            lo_offset: 0,
            lo_sizelimit: 0,
            lo_number: 0,
            lo_encrypt_type: 0,
            lo_encrypt_key_size: 0,
            lo_flags: 0,
            lo_file_name: [0; 64],
            lo_crypt_name: [0; 64],
            lo_encrypt_key: [0; 32],
            lo_init: [0; 2],
        },
        __reserved: [0; 8],
    };
    for (is_set, flag) in [
        (setup.is_read_only, LO_FLAGS_READ_ONLY),
        (setup.is_direct, LO_FLAGS_DIRECT_IO),
        (setup.is_autoclear, LO_FLAGS_AUTOCLEAR),
    ] {
        if is_set {
            config.info.lo_flags |= flag;
        }
    }
    // SAFETY: LOOP_CONFIGURE reads a `loop_config` and keeps no pointer to it.
    unsafe { ioctl::ioctl(device, Setter::<LOOP_CONFIGURE, loop_config>::new(config)) }
}

/// Takes the file from behind a loop device; at once, or when the last one closes it.
pub(crate) fn loop_clear(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument and touches no memory of ours.
    unsafe { ioctl::ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }
}

/// Has a loop device look at the size of its file again.
pub(crate) fn loop_update_size(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_SET_CAPACITY takes no argument and touches no memory of ours.
    unsafe { ioctl::ioctl(device, NoArg::<LOOP_SET_CAPACITY>::new()) }
}

/// Writes back what the page cache has for a block device, and drops it there.
pub(crate) fn flush_buffers(device: impl AsFd) -> Result<()> {
    // SAFETY: BLKFLSBUF takes no argument and touches no memory of ours.
    unsafe { ioctl::ioctl(device, NoArg::<BLKFLSBUF>::new()) }
}

/// An ioctl without argument whose answer is its return value.
struct ReturnValue<const OPCODE: Opcode>;

// SAFETY: no pointer is given to the kernel, and none is read.
unsafe impl<const OPCODE: Opcode> Ioctl for ReturnValue<OPCODE> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<Self::Output> {
        Ok(output)
    }
}

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
