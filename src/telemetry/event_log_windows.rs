//! The Event Log of Windows: a source of events, and how it is registered.
//!
//! The texts of events come from a file with messages that the source names. Windows has one whose message for each id
//! from 1 to 1000 is the event's own text, `EventCreate.exe`: so the event's id can be the number of the fault's code,
//! and no file with messages has to be built and kept in step.
#![expect(unsafe_code, reason = "no safe crate reports an event with an id of the caller's")]

use std::io;
use std::ptr;

use windows_registry::LOCAL_MACHINE;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE, RegisterEventSourceW,
    ReportEventW,
};

use super::service_log::{Event, Severity};
use crate::state::account::wide;

/// Where the sources of the Application log are.
const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// A source of events; it is a service's name.
pub struct EventLog(HANDLE);

// SAFETY: the handle is the process's; the calls on it may come from any thread.
unsafe impl Send for EventLog {}

impl EventLog {
    /// Opens the source; one that is not registered works too, and Windows then adds a remark to each text.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open(source: &str) -> io::Result<Self> {
        // SAFETY: the name ends with a zero; null means this machine.
        let handle = unsafe { RegisterEventSourceW(ptr::null(), wide(source).as_ptr()) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }

    /// Reports an event. A failure is nobody's to handle: the log file has the line.
    pub fn report(&self, event: &Event) {
        let kind = match event.severity {
            Severity::Error => EVENTLOG_ERROR_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
            Severity::Information => EVENTLOG_INFORMATION_TYPE,
        };
        // A zero within would end it.
        let text = wide(&event.text.replace('\0', ""));
        // SAFETY: the source is open; there is one text, which ends with a zero, and no data.
        unsafe { ReportEventW(self.0, kind, 0, event.id.into(), ptr::null_mut(), 1, 0, &text.as_ptr(), ptr::null()) };
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: the source is open, and nobody else's.
        unsafe { DeregisterEventSource(self.0) };
    }
}

/// Registers a source; needs an administrator.
///
/// # Errors
/// The registry's error.
pub fn register(source: &str) -> io::Result<()> {
    let messages = r"%SystemRoot%\System32\EventCreate.exe";
    let key = LOCAL_MACHINE.create(format!(r"{SOURCES}\{source}")).map_err(io::Error::other)?;
    key.set_expand_string("EventMessageFile", messages).map_err(io::Error::other)?;
    let kinds = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    key.set_u32("TypesSupported", kinds.into()).map_err(io::Error::other)
}

/// Removes a source.
///
/// # Errors
/// The registry's error.
pub fn unregister(source: &str) -> io::Result<()> {
    LOCAL_MACHINE.remove_tree(format!(r"{SOURCES}\{source}")).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_registered_takes_events_and_goes_again() {
        let source = "patgate-test";
        register(source).unwrap();
        let log = EventLog::open(source).unwrap();
        log.report(&Event { id: 104, severity: Severity::Warning, text: "a\0test".to_owned() });
        drop(log);
        let path = format!(r"{SOURCES}\{source}");
        assert!(LOCAL_MACHINE.open(&path).unwrap().get_u32("TypesSupported").is_ok());
        unregister(source).unwrap();
        assert!(LOCAL_MACHINE.open(&path).is_err());
    }
}
