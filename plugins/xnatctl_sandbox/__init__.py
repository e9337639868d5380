"""An XNAT-compatible server on this machine, written from the behaviour of a real one.

Each subpackage imports only those before it:

- `world`: the state of a site, its clock, the switches, and tracking of long work.
- `receive`: from a stream of bytes to a DICOM file in a session.
- `archive`: the prearchive, the archive, and the jobs that move sessions between them.
- `faults`: scripted faults, and what other users do to the data.
- `http` and `dicom`: the REST API and the DICOM Receiver. Neither imports the other.

`server` makes the parts and connects them; `cli` and `demo` use it.
"""
