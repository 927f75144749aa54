//! `lacis-tunnel`: a WireGuard interface in user space, configured with `wg`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lacis_tunnel::program::main()
}
