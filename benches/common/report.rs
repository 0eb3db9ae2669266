//! Tables, goals, and where both are written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A table: the first column to the left, the others to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|&cell| cell.to_owned()).collect();
        Self { rows: vec![head] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// As Markdown, aligned so that it can be read on a terminal too.
    pub(crate) fn markdown(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            for (column, &width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                text += &if column == 0 {
                    format!("| {cell:<width$} ")
                } else {
                    format!("| {cell:>width$} ")
                };
            }
            text += "|\n";
            if n == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let line = "-".repeat(width + 1);
                    text += &if column == 0 {
                        format!("|{line}-")
                    } else {
                        format!("|{line}:")
                    };
                }
                text += "|\n";
            }
        }
        text
    }
}

/// What a bench says: on the terminal at once, and into its files in the end.
pub(crate) struct Report {
    name: &'static str,
    folder: PathBuf,
    text: String,
    misses: Vec<String>,
}

impl Report {
    /// Full runs are kept under `docs/figures/`; quick ones under `target/figures/`, for they are
    /// no figures to quote.
    pub(crate) fn new(name: &'static str, quick: bool) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = if quick {
            "target/figures"
        } else {
            "docs/figures"
        };
        Self {
            name,
            folder: root.join(folder),
            text: String::new(),
            misses: Vec::new(),
        }
    }

    /// A paragraph or a table.
    pub(crate) fn say(&mut self, text: &str) {
        println!("{}\n", text.trim_end());
        // A list of goals ends here.
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
        self.text += text.trim_end();
        self.text += "\n\n";
    }

    /// A figure that has to be reached.
    pub(crate) fn goal(&mut self, reached: bool, what: String) {
        let word = if reached { "reached" } else { "MISSED" };
        println!("{word}: {what}");
        self.text += &format!("- {word}: {what}\n");
        if !reached {
            self.misses.push(what);
        }
    }

    /// Writes the files and says, in the last line, what was missed.
    pub(crate) fn finish(mut self, svg: &str, check: bool) -> ExitCode {
        self.text += &format!("\n![{}]({}.svg)\n", self.name, self.name);
        let write = |extension: &str, content: &str| {
            let path = self.folder.join(self.name).with_extension(extension);
            fs::create_dir_all(&self.folder)
                .and_then(|()| fs::write(&path, content))
                .map(|()| path)
        };
        for (extension, content) in [("md", self.text.as_str()), ("svg", svg)] {
            match write(extension, content) {
                Ok(path) => println!("written: {}", path.display()),
                Err(error) => {
                    eprintln!("cannot write to {}: {error}", self.folder.display());
                    return ExitCode::FAILURE;
                }
            }
        }
        let failed = check && !self.misses.is_empty();
        let list = self.misses.join("; ");
        match (self.misses.is_empty(), check) {
            (true, _) => println!("{}: every goal reached", self.name),
            (false, true) => println!(
                "{}: FAILED, {} missed: {list}",
                self.name,
                self.misses.len()
            ),
            (false, false) => println!("{}: {} missed: {list}", self.name, self.misses.len()),
        }
        if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
