//! User-space WireGuard in trains: TUN, UDP and boringtun on one thread.
