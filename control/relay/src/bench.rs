//! What the bench and its yardstick need of the socket code: no part of the relay.

use std::{io, net::SocketAddr};

use crate::{
    leg::Place,
    udp::{
        send::{Receiver, Sender, Train},
        socket::{Stop, UdpSocket},
    },
};

/// A UDP port that sends trains and receives what the kernel merged, with the system calls of the relay.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    receiver: Receiver,
    sender: Sender,
    stop: Stop,
}

impl Port {
    /// Binds an address.
    ///
    /// # Errors
    /// Why not.
    pub fn bind(at: SocketAddr) -> io::Result<Self> {
        let (receiver, sender) = (Receiver::default(), Sender::new());
        Ok(Self { socket: UdpSocket::bind(at)?, receiver, sender, stop: Stop::new()? })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.socket.address()
    }

    /// Sends datagrams of `stride` bytes in one call; how many the kernel did not take.
    pub fn send(&mut self, to: SocketAddr, stride: usize, bytes: &[u8]) -> u64 {
        self.sender.push(Train { to: Place::of(to), ecn: 0, stride, start: 0, length: bytes.len() });
        self.sender.flush(&self.socket, bytes)
    }

    /// Waits for datagrams; gives each to `each`, with where it came from.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive(&mut self, mut each: impl FnMut(SocketAddr, &[u8])) -> io::Result<()> {
        let count = match self.receiver.receive(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return self.stop.wait(&self.socket).map(drop);
            }
            received => received?,
        };
        for at in 0..count {
            let Some(message) = self.receiver.message(at) else { continue };
            let bytes = &self.receiver.bytes()[message.start..message.start + message.length];
            bytes
                .chunks(message.stride)
                .for_each(|datagram| each(Place::of(message.from).remote(), datagram));
        }
        Ok(())
    }

    /// The yardstick: receives and sends on to whoever sent a single byte last, and decides nothing. Never returns.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pass_on(mut self) -> io::Result<()> {
        let mut to = None;
        loop {
            let count = match self.receiver.receive(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stop.wait(&self.socket)?;
                    continue;
                }
                received => received?,
            };
            for at in 0..count {
                let Some(message) = self.receiver.message(at) else { continue };
                match to {
                    _ if message.length == 1 => to = Some(Place::of_message(&message)),
                    Some(to) => {
                        let (stride, start, length) = (message.stride, message.start, message.length);
                        self.sender.push(Train { to, ecn: 0, stride, start, length });
                    }
                    None => {}
                }
            }
            self.sender.flush(&self.socket, self.receiver.bytes());
        }
    }
}
