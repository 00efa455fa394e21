//! What the command line decides.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;

/// A local Stellar ledger: real contracts, real RPC, faults on request.
#[derive(Parser, Clone, Debug)]
#[command(name = "holdfast-ledger", version, about, long_about = None)]
pub struct Options {
    /// Port of RPC, friendbot, explorer and admin; 0 takes any free one and
    /// prints it
    #[arg(long, default_value_t = 8100)]
    pub port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Milliseconds between two ledgers (the public network: about 5000)
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..))]
    pub close_ms: u32,

    /// Passphrase of the network; its hash is the root account's seed
    #[arg(long, default_value = "Standalone Network ; February 2017")]
    pub passphrase: String,

    /// File that keeps the ledger across restarts and kill -9; without it the
    /// ledger lives in memory
    #[arg(long)]
    pub state: Option<PathBuf>,

    /// Ledgers of history that RPC serves
    #[arg(long, default_value_t = 120_960, value_parser = clap::value_parser!(u32).range(1..))]
    pub retention_ledgers: u32,

    /// Close ledgers only when the admin endpoint says so (friendbot closes one
    /// too)
    #[arg(long)]
    pub manual: bool,

    /// A second port of the same network that answers as a node this many
    /// ledgers behind (see --second-lag)
    #[arg(long)]
    pub second_port: Option<u16>,

    /// How many ledgers the second port lags
    #[arg(long, default_value_t = 3)]
    pub second_lag: u32,
}

impl Options {
    /// A ledger in memory on any port, for tests.
    pub fn for_test() -> Self {
        Self::parse_from(["holdfast-ledger", "--port", "0", "--manual"])
    }
}
