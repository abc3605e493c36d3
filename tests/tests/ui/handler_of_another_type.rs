use std::io::{Read, Write};

use cacheness::handler::{Handler, HandlerError};
use cacheness::cached;

struct Csv;

impl Handler for Csv {
    type Value = Vec<String>;

    fn name(&self) -> &str {
        "csv"
    }

    fn write(&self, row: &Vec<String>, to: &mut dyn Write) -> Result<(), HandlerError> {
        Ok(write!(to, "{}", row.join(","))?)
    }

    fn read(&self, from: &mut dyn Read) -> Result<Vec<String>, HandlerError> {
        Ok(std::io::read_to_string(from)?.split(',').map(str::to_owned).collect())
    }
}

#[cached(handler = Csv)]
fn f(n: u32) -> Result<u32, String> {
    Ok(n)
}

fn main() {
    let _ = f(1);
}
