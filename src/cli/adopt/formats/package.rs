//! Zip files with texts in them: packaged workbooks of Tableau, which can be written, and files of Power BI, which
//! check what is in them and cannot.

use std::io::{Cursor, Read, Write};

use zip::ZipArchive;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::{Format, Part, json, mashup};
use crate::cli::adopt::document::Document;

/// The largest text in a package that is read, in bytes.
const MOST: u64 = 64 << 20;
const BY_HAND: &str = "Power BI checks what stands in its files: change it in Power BI Desktop, Data source settings";
/// What stands before the package in a `DataMashup`: a version and the length, each of 4 bytes.
const HEAD: usize = 8;

/// Whose packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli::adopt) enum Package {
    Tableau,
    PowerBi,
}

impl Package {
    /// The texts in a package.
    pub(super) fn read(self, bytes: &[u8], gate: Option<&str>) -> Result<Vec<Part>, String> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
        let names = archive.file_names().map(|name| name.map(|name| name.into_owned()));
        let names: Vec<String> = names.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let mut parts = Vec::new();
        for name in &names {
            match self {
                Self::Tableau if name.ends_with(".twb") || name.ends_with(".tds") => {
                    let document = Document::read(&entry(&mut archive, name)?)?;
                    let settings = Format::Xml.settings(&document.text, name, gate)?;
                    parts.push(Part { name: name.clone(), document, settings, fixed: None });
                }
                Self::PowerBi if name == "DataMashup" => {
                    let mashup = entry(&mut archive, name)?;
                    let inner = mashup.get(HEAD..).ok_or("its DataMashup is cut")?;
                    let mut inner = ZipArchive::new(Cursor::new(inner)).map_err(|error| error.to_string())?;
                    let name = "Formulas/Section1.m";
                    let document = Document::read(&entry(&mut inner, name)?)?;
                    let settings = Format::Mashup.settings(&document.text, name, gate)?;
                    parts.push(Part { name: name.to_owned(), document, settings, fixed: Some(BY_HAND) });
                }
                Self::PowerBi if name == "DataModelSchema" => {
                    let document = Document::read(&entry(&mut archive, name)?)?;
                    for (table, query) in json::queries(&document.text)? {
                        let document = Document::read(query.as_bytes())?;
                        let settings = mashup::read(&document.text, &table, gate);
                        parts.push(Part { name: name.clone(), document, settings, fixed: Some(BY_HAND) });
                    }
                }
                _ => {}
            }
        }
        let hidden = self == Self::PowerBi && parts.is_empty() && names.iter().any(|name| name == "DataModel");
        if hidden {
            return Err("its queries lie in the compressed model, which only Power BI reads: save it as a template \
                        (.pbit) or a project (.pbip), and look at that"
                .to_owned());
        }
        Ok(parts)
    }
}

fn entry(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>, String> {
    let file = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    match bytes.len() as u64 > MOST {
        true => Err(format!("{name} is larger than {} MiB", MOST >> 20)),
        false => Ok(bytes),
    }
}

/// The package with other texts under some of its names; all else is copied as it is.
pub(in crate::cli::adopt) fn repacked(package: &[u8], changed: &[(&str, Vec<u8>)]) -> Result<Vec<u8>, String> {
    let wrong = |error: zip::result::ZipError| error.to_string();
    let mut archive = ZipArchive::new(Cursor::new(package)).map_err(wrong)?;
    let mut new = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(wrong)?;
        let own = file.name().map_err(wrong)?.into_owned();
        match changed.iter().find(|(name, _)| *name == own) {
            None => new.raw_copy_file(file).map_err(wrong)?,
            Some((name, bytes)) => {
                let time = file.last_modified().unwrap_or_default();
                let options =
                    SimpleFileOptions::default().compression_method(file.compression()).last_modified_time(time);
                new.start_file(*name, options).map_err(wrong)?;
                new.write_all(bytes).map_err(|error| error.to_string())?;
            }
        }
    }
    new.finish().map(Cursor::into_inner).map_err(wrong)
}
