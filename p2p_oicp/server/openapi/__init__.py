"""The documents of what a node serves: OpenAPI 3.1 of its requests, AsyncAPI 3.0 of its events.

**One table.** Each route outside of OICP is an `Endpoint` (`endpoints`): method, path, query, body, answer, in one
place. The routes of a listener are made of them (`Endpoint.route`), and so is the document: neither has what the other
has not. The tables are `status_endpoints`, `peer_endpoints`, `record_endpoints`, `map_endpoints`, `evse_endpoints`,
`log_endpoints` (administration), `listener_endpoints` (health, metrics, documents), `node_endpoints` (``/p2p/v1``) and
`hub_endpoints`.
The operations of OICP come from their own table (`oicp.operations`).

**Schemas** are JSON Schema 2020-12, put together by `schemas`; `documents` makes a document of endpoints, and `page`
serves the documents with a page that shows them.
"""
