"""OCPI 2.2.1 as a library: objects, envelope, pages, the table of modules. No I/O, and nothing of OICP or the node.

Overview
    Objects are models, read as OICP's messages are (`oicp.message`): permissively, with a finding for each deviation,
    and written strictly. Programs work with the objects as JSON, which `base.read_object` returns after reading.

Main modules
    - ``base``: wire policy: CiString, times, numbers, open enumerations, `read_object`, `check_object`.
    - ``enumerations``; ``locations``, ``tokens``, ``tariffs``, ``sessions`` (and CDRs), ``commands`` (and charging
      profiles), ``credentials``: the objects.
    - ``modules``: the table of modules, with a column for the version of OCPI.
    - ``registration``: version, endpoints and roles that two partners agree on.
    - ``envelope``: answers, status codes, PATCH; ``paging``: lists in pages.

Invariants
    - An unknown member or word is kept. A CiString is compared by `base.ci` and written back as received.
    - Numbers are Decimal; a time without zone is UTC.

Failures
    `oicp.findings.InvalidMessage`, with JSON pointers, if there is no object to process.

Where to read next
    ``modules``, then `ocpi_mapping`, which turns these objects into OICP's and back.
"""
