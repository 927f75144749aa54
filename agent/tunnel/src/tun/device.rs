//! Overlay devices: a TUN interface with offloads, or a socket pair that stands in for one in tests.
//!
//! Both carry frames: a virtio header (`vnet`) and a packet, which may be a super-packet. A device only reads and
//! writes frames; addresses, routes, MTU and link state are its owner's affair.
//!
//! A device may have several queues, each read by one shard. The kernel puts the packets of a flow in the queue to
//! which packets of its other direction were last written, and spreads flows that it does not know.
#![expect(unsafe_code, reason = "creating a TUN interface takes ioctls that no safe wrapper covers")]

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::tun::netlink;
use crate::tun::vnet;

/// A place where overlay packets come from and go to. A clone is the same place, which is gone with the last of them.
#[derive(Clone, Debug)]
pub struct Device {
    queues: Arc<[File]>,
    /// Whose queue this handle reads.
    reader: usize,
    name: String,
    index: u32,
    udp_segmentation: bool,
}

/// Why a TUN interface could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The kernel has no TUN driver, or the container does not have the device.
    #[error(
        "there is no /dev/net/tun: load the kernel module (modprobe tun), or give the container the device \
         (--device /dev/net/tun)"
    )]
    Missing {
        /// What the kernel said.
        source: io::Error,
    },
    /// The process may not create interfaces.
    #[error(
        "creating the interface {name:?} needs CAP_NET_ADMIN and a readable and writable /dev/net/tun: run as root, \
         or grant it with: setcap cap_net_admin,cap_net_bind_service+ep <program>"
    )]
    Permission {
        /// The interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another program holds an interface of that name, or it is no TUN interface.
    #[error("the interface {name:?} is in use by another program, or of another kind")]
    InUse {
        /// The interface.
        name: String,
    },
    /// Interface names have 1 to 15 bytes without slash or space.
    #[error("{name:?} is not a name for an interface: 1 to 15 bytes, no slash, no space")]
    Name {
        /// The name.
        name: String,
    },
    /// Any other refusal.
    #[error("cannot create the interface {name:?}: {step}")]
    Create {
        /// The interface.
        name: String,
        /// The step that failed.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Device {
    /// Creates the TUN interface `name`, or attaches to a persistent one of that name that nobody uses.
    ///
    /// Asks for all offloads, and sets the link's segment limit and queue length for `mtu`.
    ///
    /// # Errors
    /// As [`DeviceError`] says; its text tells what to do.
    pub fn open_tun(name: &str, mtu: u16) -> Result<Self, DeviceError> {
        Self::open(name, mtu, true, 1)
    }

    /// Does what [`Device::open_tun`] does, with a queue for each of `queues` shards; without `segmentation` the kernel cuts
    /// super-packets before they come here. A persistent interface made with one queue keeps it.
    pub(crate) fn open_tun_queues(
        name: &str,
        mtu: u16,
        segmentation: bool,
        queues: u8,
    ) -> Result<Self, DeviceError> {
        Self::open(name, mtu, segmentation, queues)
    }

    fn open(name: &str, mtu: u16, segmentation: bool, queues: u8) -> Result<Self, DeviceError> {
        let named = || name.to_owned();
        let fits = (1..=15).contains(&name.len()) && !name.contains(['/', ' ', '\0']) && !name.contains('%');
        if !fits {
            return Err(DeviceError::Name { name: named() });
        }
        let failed = |step| move |source| DeviceError::Create { name: name.to_owned(), step, source };
        let queues = open_queues(name, queues)?;
        let udp_segmentation =
            ask_offloads(&queues[0], segmentation).map_err(failed("asking for offloads"))?;
        let index = interface_index(name).map_err(failed("finding its index"))?;
        let device = Self { queues: queues.into(), reader: 0, name: named(), index, udp_segmentation };
        device.limit_segments(mtu);
        Ok(device)
    }

    /// Makes a device in memory and the handle that plays the host's part.
    ///
    /// # Errors
    /// When the kernel gives no socket pair.
    pub fn memory() -> io::Result<(Self, MemoryTun)> {
        use socket2::{Domain, Socket, Type};
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true)?;
            end.set_send_buffer_size(1 << 20)?;
        }
        theirs.set_nonblocking(false)?;
        let device = Self {
            queues: Arc::new([File::from(OwnedFd::from(ours))]),
            reader: 0,
            name: String::from("memory"),
            index: 0,
            udp_segmentation: true,
        };
        Ok((device, MemoryTun { socket: theirs }))
    }

    /// Returns the interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the interface's index; 0 for a device in memory.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the device as shard `number` holds it.
    pub(crate) fn of_shard(mut self, number: u8) -> Self {
        self.reader = number.into();
        self
    }

    /// Whether there is a queue for this handle to read. All can write.
    pub(crate) fn is_read(&self) -> bool {
        self.reader < self.queues.len()
    }

    fn queue(&self) -> &File {
        &self.queues[if self.is_read() { self.reader } else { 0 }]
    }

    /// Whether the kernel takes and gives UDP super-packets here.
    pub(crate) fn udp_segmentation(&self) -> bool {
        self.udp_segmentation
    }

    /// Limits super-packets to what one UDP send carries once sealed, so that none leaves a stump behind.
    ///
    /// Failing costs speed only, hence is logged and not returned.
    pub(crate) fn limit_segments(&self, mtu: u16) {
        if self.index == 0 {
            return;
        }
        let most = crate::udp::socket::segment_limit()
            .min(limits::UDP_PAYLOAD / (usize::from(mtu) + limits::SEAL_OVERHEAD));
        let most = u32::try_from(most.max(1)).unwrap_or(1);
        if let Err(error) = netlink::set_link_limits(self.index, most, limits::DEVICE_QUEUE) {
            tracing::debug!(device = %self.name, %error, "segment limit not set, sends will be shorter than they could");
        }
    }

    /// Reads one frame.
    pub(crate) fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        self.queue().read(frame)
    }

    /// Writes one frame from its parts to a queue, or to the first when there is none of that number.
    pub(crate) fn write(&self, queue: u8, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut file = self.queues.get(usize::from(queue)).unwrap_or(&self.queues[0]);
        file.write_vectored(parts)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue().as_fd()
    }
}

/// The host's end of a device in memory.
#[derive(Debug)]
pub struct MemoryTun {
    socket: socket2::Socket,
}

impl MemoryTun {
    /// Hands the device one whole packet.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.send_frame(&[0; vnet::LEN], packet)
    }

    /// Hands the device a frame: virtio header and packet.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn send_frame(&self, header: &[u8], packet: &[u8]) -> io::Result<()> {
        self.socket.send_vectored(&[IoSlice::new(header), IoSlice::new(packet)]).map(drop)
    }

    /// Takes the next packet the device delivers, without its header; `None` when none comes in time.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn receive(&self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        self.socket.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let mut frame = vec![0; limits::FRAME];
        match (&self.socket).read(&mut frame) {
            Ok(n) if n < vnet::LEN => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => Ok(Some(frame[vnet::LEN..n].to_vec())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Opens the queues of the interface `name`; at least one.
fn open_queues(name: &str, queues: u8) -> Result<Vec<File>, DeviceError> {
    let refused = |source: io::Error| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => DeviceError::Permission { name: name.to_owned(), source },
        // EINVAL: it is no TUN interface, or one of several queues, which its maker uses.
        Some(libc::EBUSY | libc::EINVAL) => DeviceError::InUse { name: name.to_owned() },
        _ => DeviceError::Create { name: name.to_owned(), step: "attaching to it", source },
    };
    let first = open_driver(name)?;
    // Any root process may add a queue to such an interface: it must be new, or two programs would share it unawares.
    if queues <= 1 || attach(&first, name, libc::IFF_MULTI_QUEUE | libc::IFF_TUN_EXCL).is_err() {
        attach(&first, name, 0).map_err(refused)?;
        return Ok(vec![first]);
    }
    let mut files = vec![first];
    for _ in 1..queues {
        let file = open_driver(name)?;
        attach(&file, name, libc::IFF_MULTI_QUEUE).map_err(refused)?;
        files.push(file);
    }
    Ok(files)
}

fn open_driver(name: &str) -> Result<File, DeviceError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(|source| {
            if source.kind() == io::ErrorKind::PermissionDenied {
                DeviceError::Permission { name: name.to_owned(), source }
            } else {
                DeviceError::Missing { source }
            }
        })
}

/// Makes `file` a queue of the interface `name`.
fn attach(file: &File, name: &str, more: libc::c_int) -> io::Result<()> {
    let mut request = interface_request(name);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | more;
    let flags = u16::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    request.ifr_ifru.ifru_flags = flags.cast_signed();
    // SAFETY: TUNSETIFF reads and writes an ifreq, which `request` is; the descriptor is open.
    ioctl_result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let length = libc::c_int::try_from(vnet::LEN).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer.
    ioctl_result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const length) })
}

/// Asks for checksum and segmentation offloads; returns whether UDP segmentation was among those granted.
fn ask_offloads(file: &File, segmentation: bool) -> io::Result<bool> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let ask = |wanted: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        ioctl_result(unsafe {
            libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(wanted))
        })
    };
    if !segmentation {
        return ask(libc::TUN_F_CSUM).map(|()| false);
    }
    // Kernels before 6.2 refuse the UDP bits and everything asked along with them.
    if ask(tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_ok() {
        return Ok(true);
    }
    ask(tcp).map(|()| false)
}

fn interface_index(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `name` is a terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data of the C interface; all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn ioctl_result(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
