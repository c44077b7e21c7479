// The map: asks the node for what the visible area has, clusters or single EVSEs, and shows it as marks and as a list.
"use strict";

(() => {
  const element = document.getElementById("map");
  const list = document.getElementById("map-list");
  const count = document.getElementById("map-count");
  const notice = document.getElementById("map-notice");
  const filters = JSON.parse(element.dataset.filters);
  const initials = { available: "A", occupied: "O", reserved: "R", outofservice: "X" };
  const MAX_ZOOM = 18, NEAR_ZOOM = 15, WAIT_MS = 1000, MAX_LISTED = 100;
  const number = new Intl.NumberFormat("en");
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const map = L.map(element, {
    minZoom: 1, maxZoom: MAX_ZOOM, worldCopyJump: true, preferCanvas: true, attributionControl: false,
    zoomAnimation: false, fadeAnimation: false, markerZoomAnimation: false,
  });
  const clusters = L.layerGroup().addTo(map);
  const evses = L.markerClusterGroup({
    animate: false, showCoverageOnHover: false, maxClusterRadius: 30,
    iconCreateFunction: cluster => clusterIcon(cluster.getChildCount()),
  }).addTo(map);

  function mark(status) {
    const span = document.createElement("span");
    const name = (status || "Unknown").toLowerCase();
    span.className = "map-mark " + name;
    span.textContent = initials[name] || "?";
    return span;
  }

  function clusterIcon(size) {
    const span = document.createElement("span");
    span.textContent = number.format(size);
    const width = 24 + 8 * span.textContent.length;
    return L.divIcon({ html: span, className: "map-cluster", iconSize: [width, 32] });
  }

  // A mark of Leaflet is in the order of the Tab key; what it is called, and what Enter does, is left to others.
  function button(latitude, longitude, icon, title, act) {
    const marker = L.marker([latitude, longitude], { icon, title });
    return marker.on("add", () => marker.getElement()?.setAttribute("aria-label", title))
      .on("click", act).on("keypress", event => { if (event.originalEvent.key === "Enter") act(); });
  }

  function pageOf(evse) {
    return "/ui/evses/" + encodeURIComponent(evse.evse_id);
  }

  function showCluster(each) {
    const text = number.format(each.evses) + " EVSEs near " + each.latitude.toFixed(2) + ", " + each.longitude.toFixed(2);
    const enlarge = () => map.setView([each.latitude, each.longitude], Math.min(MAX_ZOOM, map.getZoom() + 2));
    button(each.latitude, each.longitude, clusterIcon(each.evses), text + ": enlarge", enlarge).addTo(clusters);
    const line = document.createElement("button");
    line.type = "button";
    line.className = "link";
    line.textContent = text;
    line.addEventListener("click", enlarge);
    return [line];
  }

  function showEvse(each) {
    const link = document.createElement("a");
    link.className = "id";
    link.href = pageOf(each);
    link.textContent = each.evse_id;
    const words = [each.status || "status unknown", each.station, each.city].filter(Boolean).join(", ");
    if (each.latitude !== null && each.longitude !== null) {
      const icon = L.divIcon({ html: mark(each.status), className: "map-evse", iconSize: [26, 26] });
      const open = () => location.assign(pageOf(each));
      evses.addLayer(button(each.latitude, each.longitude, icon, each.evse_id + ", " + words, open));
    }
    const text = document.createElement("span");
    text.className = "muted";
    text.textContent = words;
    return [link, text];
  }

  function show(content) {
    // What has the focus may be replaced: it stays at the same place of the list.
    const focused = [...list.querySelectorAll("a, button")].indexOf(document.activeElement);
    clusters.clearLayers();
    evses.clearLayers();
    document.getElementById("map-more")?.remove();
    const rows = [...content.clusters.sort((one, other) => other.evses - one.evses).map(showCluster),
      ...content.evses.map(showEvse)];
    list.replaceChildren(...rows.slice(0, MAX_LISTED).map(parts => {
      const row = document.createElement("li");
      row.append(...parts);
      return row;
    }));
    if (focused >= 0) list.querySelectorAll("a, button")[focused]?.focus({ preventScroll: true });
    count.textContent = number.format(content.total) + (content.total === 1 ? " EVSE here" : " EVSEs here");
    const isIncomplete = content.evses.length > 0 && content.evses.length < content.total;
    say(!content.status_counts ? "Too many EVSEs are in view to look up their status: these are all of them. Enlarge the map."
      : isIncomplete ? "Not all of them are shown: only the first " + number.format(content.evses.length) + "." : "");
    element.dataset.mode = content.clusters.length ? "clusters" : "evses";
    element.dataset.shown = String(rows.length);
  }

  function say(text) {
    notice.textContent = text;
    notice.classList.toggle("hidden", !text);
  }

  async function ask(query, signal) {
    const response = await fetch("/ui/map/data?" + new URLSearchParams(query), { signal });
    const isJson = (response.headers.get("Content-Type") || "").startsWith("application/json");
    if (response.ok && isJson) return response.json();
    // The login has ended: the page leads to it.
    if (response.redirected) location.reload();
    throw new Error("the node answered with HTTP " + response.status);
  }

  function boxOf(bounds) {
    return [bounds.getWest(), Math.max(-90, bounds.getSouth()), bounds.getEast(), Math.min(90, bounds.getNorth())]
      .map(each => each.toFixed(6)).join(",");
  }

  let running = null, askedAgainAt = 0, timer = 0;

  async function refresh() {
    running?.abort();
    const own = running = new AbortController();
    try {
      const { operator, status } = filters;
      const query = { box: boxOf(map.getBounds()), ...(operator && { operator }), ...(status && { status }) };
      show(await ask(query, own.signal));
    } catch (error) {
      if (error.name !== "AbortError") say("The map could not be brought up to date: " + error.message + ".");
    } finally {
      if (running === own) running = null;
    }
  }

  // At most once a second, and never while an answer is awaited; clusters show no status.
  function refreshSoon() {
    if (timer || element.dataset.mode !== "evses") return;
    timer = setTimeout(() => {
      timer = 0;
      askedAgainAt = Date.now();
      if (!running) refresh();
    }, Math.max(0, askedAgainAt + WAIT_MS - Date.now()));
  }

  function goToHash() {
    const [zoom, latitude, longitude, ...rest] = location.hash.slice(1).split("/").map(Number);
    const isPlace = rest.length === 0 && [zoom, latitude, longitude].every(Number.isFinite);
    if (isPlace) map.setView([latitude, longitude], zoom);
    return isPlace;
  }

  async function begin() {
    if (goToHash()) return;
    map.setView([30, 10], 2);
    const { operator, status, evse } = filters;
    const content = await ask(evse ? { evse } : { ...(operator && { operator }), ...(status && { status }) });
    const points = [...content.clusters, ...content.evses].filter(each => each.latitude !== null)
      .map(each => [each.latitude, each.longitude]);
    if (points.length) map.fitBounds(points, { maxZoom: evse ? MAX_ZOOM - 1 : NEAR_ZOOM, padding: [30, 30], animate: false });
    if (evse && !points.length) say("No EVSE begins with " + evse + ", or none that says where it is.");
  }

  async function drawWorld() {
    const world = await (await fetch(element.dataset.world)).json();
    const style = () => ({ color: colour("--map-border"), weight: 1, fillColor: colour("--map-land"), fillOpacity: 1 });
    const countries = L.geoJSON(topojson.feature(world, world.objects.countries), { interactive: false, style }).addTo(map);
    countries.bringToBack();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => countries.setStyle(style()));
  }

  function drawTiles() {
    const { tiles, minZoom, maxZoom, attribution } = element.dataset;
    L.tileLayer(tiles, { minNativeZoom: Number(minZoom), maxNativeZoom: Number(maxZoom), maxZoom: MAX_ZOOM }).addTo(map);
    if (!attribution) return;
    const text = document.createElement("span");
    text.textContent = new DOMParser().parseFromString(attribution, "text/html").body.textContent;
    L.control.attribution({ prefix: false }).addTo(map).addAttribution(text.outerHTML);
  }

  async function start() {
    L.control.scale({ imperial: false }).addTo(map);
    if (element.dataset.tiles) drawTiles();
    else drawWorld().catch(() => say("The outline of countries could not be loaded."));
    try {
      await begin();
    } catch (error) {
      say("The map could not be filled: " + error.message + ".");
    }
    map.on("moveend", () => {
      const { lat, lng } = map.getCenter();
      history.replaceState(null, "", "#" + [map.getZoom(), lat.toFixed(5), lng.toFixed(5)].join("/"));
      refresh();
    });
    await refresh();
    element.addEventListener("sse:evse_status", refreshSoon);
    addEventListener("hashchange", goToHash);
  }

  document.getElementById("map-filters").addEventListener("submit", event => {
    // Another operator or status is looked for in the same area, an EVSE is gone to.
    if (!event.target.elements.evse.value) event.target.action = "/ui/map" + location.hash;
  });
  start();
})();
