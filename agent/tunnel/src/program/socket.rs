//! The control socket: `/var/run/wireguard/IFNAME.sock`, where `wg` finds the interface.
//!
//! `wg` removes the file of a socket that refuses it. A socket refuses from the moment when it is bound until it
//! listens, so it gets its name only then: somebody who looks at all interfaces over and over would end the program
//! before it has begun.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use super::{Shared, link};
use crate::clock;
use crate::limits;
use crate::mailbox::Command;
use crate::start::StartError;
use crate::uapi::{self, Changes, Malformed, Request};

/// Where `wg` looks for interfaces in user space.
const FOLDER: &str = "/var/run/wireguard";

/// Stack of a client's thread; its work is flat.
const STACK: usize = 256 << 10;

/// A bound control socket. The file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    folder: PathBuf,
    inode: u64,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("another program serves {path:?}")]
    InUse { path: PathBuf },
    #[error("cannot make {path:?}")]
    Make { path: PathBuf, source: io::Error },
    #[error("cannot serve {path:?}")]
    Serve { path: PathBuf, source: io::Error },
}

impl ControlSocket {
    /// Binds the socket of the interface `name`, in place of one that nobody serves any more.
    pub(super) fn bind(name: &str) -> Result<Self, SocketError> {
        Self::bind_in(Path::new(FOLDER), name)
    }

    fn bind_in(folder: &Path, name: &str) -> Result<Self, SocketError> {
        let path = folder.join(format!("{name}.sock"));
        let failed = |source| SocketError::Make { path: path.clone(), source };
        // A name is checked with the device; here it must only not lead out of the folder.
        if name.contains('/') {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        if UnixStream::connect(&path).is_ok() {
            return Err(SocketError::InUse { path });
        }
        // Not a name of an interface, so that `wg` does not look at it. Whoever was killed here left it behind.
        let unnamed = folder.join(format!(".{name}"));
        remove(&unnamed).map_err(failed)?;
        let listener = UnixListener::bind(&unnamed).map_err(failed)?;
        fs::set_permissions(&unnamed, Permissions::from_mode(0o600)).map_err(failed)?;
        // Gone first and not replaced: a program that still serves the interface, too busy to answer, shall notice.
        remove(&path).map_err(failed)?;
        fs::rename(&unnamed, &path).map_err(failed)?;
        let inode = fs::metadata(&path).map_err(failed)?.ino();
        Ok(Self { listener, path, folder: folder.to_owned(), inode })
    }

    /// The folder that the socket stands in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the file is still this socket's.
    pub(super) fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode)
    }

    /// Takes clients from now on, in a thread.
    pub(super) fn serve(&self, shared: &Arc<Shared>) -> Result<(), SocketError> {
        let failed = |source| SocketError::Serve { path: self.path.clone(), source };
        let listener = self.listener.try_clone().map_err(failed)?;
        let shared = shared.clone();
        let taking = std::thread::Builder::new().name(String::from("lacis-wg")).stack_size(STACK);
        taking.spawn(move || take_clients(&listener, &shared)).map_err(failed)?;
        Ok(())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a file, should there be one.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn take_clients(listener: &UnixListener, shared: &Arc<Shared>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if clients.fetch_add(1, Ordering::Relaxed) >= limits::UAPI_CLIENTS {
            // Closing the stream tells the client.
            clients.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (shared, count) = (shared.clone(), clients.clone());
        let client = std::thread::Builder::new().name(String::from("lacis-wg-client")).stack_size(STACK);
        let started = client.spawn(move || {
            if let Err(error) = serve_client(&stream, &shared) {
                tracing::debug!(%error, "client of the control socket let go");
            }
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers requests until the client hangs up.
fn serve_client(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(limits::UAPI_PATIENCE))?;
    stream.set_write_timeout(Some(limits::UAPI_PATIENCE))?;
    let (mut input, mut output) = (BufReader::new(stream), BufWriter::new(stream));
    while let Some(request) = uapi::read(&mut input, &link::index)? {
        let code = answer(request, shared, &mut output)?;
        write!(output, "errno={code}\n\n")?;
        output.flush()?;
    }
    Ok(())
}

/// Does what is asked and prints what it yields; returns the code that ends the answer.
fn answer(request: Result<Request, Malformed>, shared: &Shared, output: &mut impl Write) -> io::Result<i32> {
    match request {
        Err(Malformed) => Ok(-libc::EINVAL),
        Ok(Request::Set(changes)) => Ok(change(*changes, shared)),
        Ok(Request::Get) => {
            let Ok(stats) = shared.tunnel.stats() else { return Ok(-libc::EIO) };
            let interface = shared.interface.lock().unwrap_or_else(PoisonError::into_inner);
            interface.write(output, shared.tunnel.port(), &stats, clock::since_1970())?;
            Ok(0)
        }
        Ok(Request::Counters) => {
            let Ok(stats) = shared.tunnel.stats() else { return Ok(-libc::EIO) };
            for (name, count) in stats.counters.named() {
                writeln!(output, "{name}={count}")?;
            }
            Ok(0)
        }
    }
}

/// Makes a change. The port comes first: it is all that can be refused, and then nothing is changed.
fn change(changes: Changes, shared: &Shared) -> i32 {
    let mut interface = shared.interface.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(port) = changes.listen_port
        && let Err(error) = shared.tunnel.rebind(port)
    {
        tracing::warn!(port, %error, "port refused");
        return -code_of(&error);
    }
    let mut delivered = Ok(());
    interface.change(changes, &mut |command: Command| {
        if delivered.is_ok() {
            delivered = shared.tunnel.deliver(command);
        }
    });
    if delivered.is_ok() { 0 } else { -libc::EIO }
}

fn code_of(error: &StartError) -> i32 {
    match error {
        StartError::PortInUse { .. } => libc::EADDRINUSE,
        StartError::Bind { source, .. } | StartError::Start { source, .. } => {
            source.raw_os_error().unwrap_or(libc::EIO)
        }
    }
}

#[cfg(test)]
mod tests;
