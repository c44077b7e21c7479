"""Between OCPI 2.2.1 and OICP 2.3, in both directions. Pure: no I/O, no logs; the clock is a value of the terms.

Overview
    A function takes objects as JSON (`ocpi.base.read_object`, `oicp`), and `Terms`: who the partner is, and what one
    protocol demands and the other lacks. It returns the other protocol's form and the losses: what could not be
    carried, each with a JSON pointer into the source and reported once. ``to_…`` leads towards OICP, ``from_…`` towards
    OCPI. What would become wrong by carrying half of it (a price, a CDR) is left out whole, with its reason.

Main modules
    - ``terms``, ``losses``; ``ids``, ``amounts``, ``hours``: parties and identifiers, numbers and times, weeks.
    - ``locations``, with ``places``, ``plugs``, ``evses``: locations and EVSE records.
    - ``identifications``: tokens; ``authorizations``: real-time authorization and status codes.
    - ``commands``: remote operations and charging profiles.
    - ``sessions``: sessions and notifications, and which session an object belongs to.
    - ``conversion``: one object of either protocol, as `p2p-oicp ocpi convert` shows it.
    - ``cdrs``, with ``costs`` and ``signatures``; ``prices``: tariffs.

Invariants
    - The same input under the same terms gives the same result. Money and energy are never binary floats.
    - Enumerations are tables; an unknown word never fails a mapping.

Failures
    None for objects that `ocpi.base.read_object` or the models of `oicp` have read.

Where to read next
    ``docs/ocpi.md``: what is mapped and what is lost, table by table.
"""
