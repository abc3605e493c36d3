//! A client of an HTTP service whose answers are cached: fifty tasks ask at once, the service sees one request.
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cacheness::cached;
use cacheness_examples::{data, read_csv};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One day of Seattle's weather.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Day {
    date: String,
    temp_max: f64,
    weather: String,
}

type Failure = Box<dyn Error + Send + Sync>;

/// The server's address is left out of the key: the answer does not depend on it. An `Err` is not stored.
#[cached(async, ttl = 3600, skip(server))]
async fn weather(server: SocketAddr, date: &str) -> Result<Day, Failure> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(format!("GET /{date} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (_, body) = reply.split_once("\r\n\r\n").ok_or("the reply has no body")?;
    let mut fields = body.split(',').map(str::to_owned);
    let mut next = || fields.next().ok_or_else(|| format!("no weather is known for {date}"));
    Ok(Day { date: next()?, temp_max: next()?.parse()?, weather: next()? })
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let requests = Arc::new(AtomicUsize::new(0));
    let server = start_server(Arc::clone(&requests)).await?;
    cacheness::function(weather).clear()?;

    let callers: Vec<_> = (0..50).map(|_| tokio::spawn(weather(server, "2012/01/05"))).collect();
    for caller in callers {
        assert_eq!(caller.await??.weather, "rain");
    }
    println!("50 callers, {} request", requests.load(Ordering::SeqCst));
    assert_eq!(requests.load(Ordering::SeqCst), 1);

    let failed = weather(server, "1912/01/05").await;
    println!("a failure is not stored: {}", failed.err().map(|error| error.to_string()).unwrap_or_default());
    println!("{:?}", weather(server, "2012/01/05").await?);
    println!("{:#?}", cacheness::function(weather).info()?);
    Ok(())
}

/// A real server on a free port of this machine.
async fn start_server(requests: Arc<AtomicUsize>) -> Result<SocketAddr, Failure> {
    let days: Arc<Vec<Day>> = Arc::new(read_csv(&data("seattle-weather.csv"))?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            requests.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let path = String::from_utf8_lossy(&request[..read]);
            let day = days.iter().find(|day| path.starts_with(&format!("GET /{} ", day.date)));
            let body = day.map(|day| format!("{},{},{}", day.date, day.temp_max, day.weather)).unwrap_or_default();
            let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await;
        }
    });
    Ok(address)
}
