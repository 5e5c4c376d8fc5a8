//! A small program from end to end: it appends to a stream, reads it back, and follows the store from what is there to what comes.
//!
//! `cargo run -p strandline-client --example orders -- 127.0.0.1:7071`, beside a node that serves one store and knows no order yet. A test
//! runs it (`docs` in tests/blackbox) and holds the page docs/rust.md to what it prints.

#![allow(clippy::print_stdout)]

use std::error::Error;
use strandline_client::{
    BatchBuilder, BatchBytes, BatchUnit, Client, ClientError, EventInput, Expected, Filter, Options, Position, Seq,
    StreamWanted, SubscribeWanted,
};

/// One event of an order, as a batch of its own.
fn order(stream_id: &str, event_type: &str, data: &str) -> Result<BatchBytes, Box<dyn Error>> {
    let mut batch = BatchBuilder::new("Order", BatchUnit::Append);
    batch.push(&EventInput { stream_id, event_type, data, ..EventInput::default() })?;
    Ok(batch.finish()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7071".to_owned());
    let client = Client::connect(Options::new(address)).await?;

    // who expects what is not so is told, and nothing is stored
    client.append(order("1001", "Placed", r#"{"total": 12.5}"#)?, Expected::Empty).await?;
    client.append(order("1001", "Paid", "")?, Expected::At(Seq(1))).await?;
    match client.append(order("1001", "Paid", "")?, Expected::At(Seq(1))).await {
        Err(ClientError::Refused(refused)) => println!("refused: {}", refused.code),
        other => println!("not as expected: {other:?}"),
    }

    let page = client.read_stream(&StreamWanted::all("Order", "1001")).await?;
    for event in page.events.iter() {
        println!("read: {} {} {}", event.seq.0, event.event_type, event.data);
    }
    println!("nothing is missing: {}", page.facts.contiguous);

    // keep `following.position()` with what was made of the events: it is where to go on
    let filter = Filter { stream_type: Some("Order".to_owned()), ..Filter::default() };
    let after = Some(Position::START);
    let mut following = client.subscribe(SubscribeWanted { after, window_bytes: 64 << 10, filter, stream_id: None });
    let mut seen = 0;
    while seen < 3 {
        for event in following.next().await?.events.iter() {
            println!("told: {} {} {}", event.stream_id, event.seq.0, event.event_type);
            seen += 1;
        }
        if seen == 2 {
            client.append(order("1002", "Placed", r#"{"total": 7}"#)?, Expected::Empty).await?;
        }
    }
    Ok(())
}
