// Shows the OpenAPI document of this node, and nothing of any other host.
"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  filter: true,
  // The address of the document is not the reader's to choose, nor does another host hear of it.
  queryConfigEnabled: false,
  validatorUrl: null,
});
