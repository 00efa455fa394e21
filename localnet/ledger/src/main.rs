//! The `holdfast-ledger` command.

use clap::Parser;
use holdfast_ledger::http::Server;
use holdfast_ledger::options::Options;

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => return fail(&e.to_string()),
    };
    let stopped = runtime.block_on(serve(options));
    runtime.shutdown_background();
    match stopped {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => fail(&e),
    }
}

fn fail(error: &str) -> std::process::ExitCode {
    eprintln!("holdfast-ledger: {error}");
    std::process::ExitCode::FAILURE
}

async fn serve(options: Options) -> Result<(), String> {
    use tokio::signal::unix::{signal, SignalKind};
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let passphrase = options.passphrase.clone();
    let close_ms = options.close_ms;
    let manual = options.manual;
    let state = options.state.clone();
    let server = Server::start(options).await?;
    let rpc = server.rpc();
    println!("ready {}", server.url);
    println!("network {passphrase:?}");
    match state {
        Some(path) => println!("state   {}", path.display()),
        None => println!("state   in memory"),
    }
    if manual {
        println!("closes  by POST /admin/ledgers/close");
    } else {
        println!("closes  every {close_ms} ms");
    }
    tokio::select! {
        () = server.run() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // The ledger at hand is finished and written before the process ends.
    tokio::task::block_in_place(|| rpc.node.stop());
    Ok(())
}
