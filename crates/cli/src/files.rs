//! Manifests from files, directories and standard input, all of them read before anything is done.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lochness_api::manifest::{Manifest, ManifestError, Source, parse_all};

use crate::{Console, Failure};

/// More than this is no manifest: 64 MiB hold some 200,000 guests.
const MAX_BYTES: u64 = 64 << 20;

/// Deeper than this a directory is a loop of links.
const MAX_DEPTH: usize = 32;

/// Reads what `-f` names: files of any name, `-` for standard input, and of directories every `.yaml`, `.yml` and `.json`
/// that is not hidden, in order of names.
///
/// # Errors
/// All faults of all files at once.
pub(crate) fn read_manifests(
    names: &[PathBuf],
    console: &mut Console<'_>,
) -> Result<Vec<Manifest>, Failure> {
    let mut texts = Vec::new();
    for name in names {
        if name.as_os_str() == "-" {
            texts.push(("<stdin>".to_owned(), read_input(console)?));
            continue;
        }
        let mut files = Vec::new();
        find_files(name, 0, &mut files)?;
        for file in files {
            texts.push((file.display().to_string(), read_file(&file)?));
        }
    }
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let manifests = parse_all(&sources).map_err(|errors| refused(&errors))?;
    if manifests.is_empty() {
        let names: Vec<_> = names.iter().map(|name| name.display().to_string()).collect();
        return Err(Failure::usage(
            format!("there is no manifest in {}", names.join(", ")),
            "manifests are files that end in .yaml, .yml or .json; a directory is searched for them",
        ));
    }
    Ok(manifests)
}

/// A failure that tells all faults, each with its place.
pub(crate) fn refused(errors: &[ManifestError]) -> Failure {
    let lines: Vec<_> = errors.iter().map(|error| format!("\n  {error}")).collect();
    let count = match errors.len() {
        1 => "1 fault".to_owned(),
        several => format!("{several} faults"),
    };
    Failure::usage(
        format!("the manifests have {count}; nothing was changed{}", lines.concat()),
        "lochnessctl schema KIND tells which fields there are",
    )
}

fn find_files(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !fs::metadata(path).map_err(|error| unreadable(path, &error))?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(Failure::usage(
            format!("{} lies {MAX_DEPTH} directories deep", path.display()),
            "look for a link that leads back",
        ));
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| unreadable(path, &error))?;
    entries.sort();
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let manifest =
            entry.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|e| end == *e));
        if !hidden && (manifest || entry.is_dir()) {
            find_files(&entry, depth + 1, found)?;
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let size = fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if size > MAX_BYTES {
        return Err(too_large(&path.display().to_string()));
    }
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn read_input(console: &mut Console<'_>) -> Result<String, Failure> {
    let mut text = String::new();
    let read = (&mut console.input).take(MAX_BYTES + 1).read_to_string(&mut text);
    let read = read.map_err(|error| unreadable(Path::new("<stdin>"), &error))?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_BYTES) {
        return Err(too_large("<stdin>"));
    }
    Ok(text)
}

fn too_large(name: &str) -> Failure {
    Failure::usage(format!("{name} is larger than {} MiB", MAX_BYTES >> 20), "split it")
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{} cannot be read: {error}", path.display()), "look at -f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_searched_for_manifests_in_order_of_names() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a/z.json", "a/x.yml", "note.txt", ".hidden.yaml"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut found = Vec::new();
        find_files(root.path(), 0, &mut found).unwrap();
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(root.path()).unwrap()).collect();
        assert_eq!(names, ["a/x.yml", "a/z.json", "b.yaml"].map(Path::new));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let failure = find_files(Path::new("/nowhere.yaml"), 0, &mut Vec::new()).unwrap_err();
        assert!(failure.to_string().contains("/nowhere.yaml"), "{failure}");
    }
}
