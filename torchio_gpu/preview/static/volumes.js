// Volumes as they come from the server, and planes of them on canvases.

export const PLANES = {axial: [2, 0, 1], coronal: [1, 0, 2], sagittal: [0, 1, 2]};
const LETTERS = ["LR", "PA", "IS"];
const COLOURS = [[255, 196, 61], [77, 163, 255], [255, 107, 129], [94, 214, 148], [190, 132, 255],
  [255, 146, 76], [64, 210, 222], [238, 130, 206], [172, 204, 82], [150, 160, 255]];

// Return the header and the volumes of an answer: length, JSON, arrays.
export function decode(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const volumes = {};
  for (const [name, head] of Object.entries(header.volumes)) {
    const [start, size] = header.arrays[name];
    const codes = new Uint16Array(buffer, 4 + length + start, size);
    volumes[name] = {...head, codes, inverse: inverse(head.affine)};
  }
  return {header, volumes};
}

export function times(m, [x, y, z]) {
  return [0, 1, 2].map(n => m[4 * n] * x + m[4 * n + 1] * y + m[4 * n + 2] * z + m[4 * n + 3]);
}

function inverse(m) {
  const [a, b, c, , d, e, f, , g, h, i] = m;
  const [p, q, r] = [e * i - f * h, f * g - d * i, d * h - e * g];
  const t = 1 / (a * p + b * q + c * r);
  const rows = [[p, c * h - b * i, b * f - c * e], [q, a * i - c * g, c * d - a * f],
    [r, b * g - a * h, a * e - b * d]].map(row => row.map(x => x * t));
  return rows.flatMap(row => [...row, -(row[0] * m[3] + row[1] * m[7] + row[2] * m[11])]);
}

export function spacing(v) {
  return [0, 1, 2].map(n => Math.hypot(v.affine[n], v.affine[4 + n], v.affine[8 + n]));
}

// Return the value at a point of the world, NaN outside and where there is no number.
export function valueAt(v, at) {
  const [i, j, k] = times(v.inverse, at).map(x => Math.floor(x + 0.5));
  const [I, J, K] = v.shape;
  if (i < 0 || j < 0 || k < 0 || i >= I || j >= J || k >= K) return NaN;
  return number(v, v.codes[(k * J + j) * I + i]);
}

const number = (v, code) => code === 65535 ? NaN : code * v.scale + v.offset;

// Return for each code its grey value, for a window of intensities.
function greys(v, [low, high]) {
  const key = low + "," + high;
  if (v.key !== key) {
    v.grey = new Uint8ClampedArray(65536);
    const span = 255 / Math.max(high - low, 1e-12);
    for (let code = 0; code < 65535; code++) v.grey[code] = (code * v.scale + v.offset - low) * span;
    v.key = key;
  }
  return v.grey;
}

// Return the steps in memory of a plane, and the number of the first of its voxels.
function layout(v, plane, at) {
  const [cut, across, up] = PLANES[plane], [I, J] = v.shape, step = [1, I, I * J];
  const place = times(v.inverse, at), slice = Math.floor(place[cut] + 0.5);
  return {cut, across, up, slice, inside: slice >= 0 && slice < v.shape[cut], first: slice * step[cut],
    stepAcross: step[across], stepUp: step[up], width: v.shape[across], height: v.shape[up]};
}

// Fill pixels with a plane: what is `image`, `label` over it, or `difference` from another volume.
function paint(pixels, part, look, flip) {
  const {image: v, label, other, window: w} = look, kind = look.kind, {width, height} = part;
  const grey = kind === "label" ? null : greys(v, w), span = 255 / Math.max(look.reach, 1e-12);
  const same = other && other.affine.every((x, n) => Math.abs(x - v.affine[n]) < 1e-5)
    && other.shape.every((n, axis) => n === v.shape[axis]);
  const alpha = label ? look.opacity : 0;
  const sameLabel = label && label.shape.every((n, axis) => n === v.shape[axis])
    && label.affine.every((x, n) => Math.abs(x - v.affine[n]) < 1e-5);
  const markAt = (place, x, y) => sameLabel ? label.codes[place] : valueAt(label, world(v, part, x, y)) || 0;
  let target = 0;
  for (let row = 0; row < height; row++) {
    const y = height - 1 - row;
    for (let column = 0; column < width; column++, target += 4) {
      const x = flip ? width - 1 - column : column;
      const place = part.first + y * part.stepUp + x * part.stepAcross, code = v.codes[place];
      let r, g, b;
      if (other) {
        const before = same ? number(other, other.codes[place]) : valueAt(other, world(v, part, x, y));
        const d = number(v, code) - before;
        if (kind === "label") [r, g, b] = d ? [255, 107, 129] : [0, 0, 0];
        else {
          const s = Math.min(255, Math.abs(d) * span) || 0;
          [r, g, b] = d > 0 ? [s, s * 0.6, s * 0.18] : [s * 0.22, s * 0.62, s];
        }
      } else if (kind === "label") {
        [r, g, b] = code ? COLOURS[(code - 1) % COLOURS.length] : [0, 0, 0];
      } else r = g = b = grey[code];
      if (alpha) {
        const mark = markAt(place, x, y);
        if (mark) {  // outlines are stronger, so that the image is seen beneath
          const edge = x + 1 < width && markAt(place + part.stepAcross, x + 1, y) !== mark
            || y + 1 < height && markAt(place + part.stepUp, x, y + 1) !== mark
            || x > 0 && !markAt(place - part.stepAcross, x - 1, y) || y > 0 && !markAt(place - part.stepUp, x, y - 1);
          const c = COLOURS[(mark - 1) % COLOURS.length], a = edge ? Math.min(1, alpha * 1.7) : alpha * alpha;
          r += (c[0] - r) * a; g += (c[1] - g) * a; b += (c[2] - b) * a;
        }
      }
      pixels[target] = r; pixels[target + 1] = g; pixels[target + 2] = b; pixels[target + 3] = 255;
    }
  }
}

function world(v, part, x, y) {
  const voxel = [0, 0, 0];
  voxel[part.cut] = part.slice; voxel[part.across] = x; voxel[part.up] = y;
  return times(v.affine, voxel);
}

// Return where a volume lies in the picture of a plane, mm relative to the voxel axes of `frame`.
export function extent(v, frame, plane) {
  const [, across, up] = PLANES[plane];
  const centre = times(frame.inverse, times(v.affine, v.shape.map(n => (n - 1) / 2)));
  const of = axis => {
    const middle = centre[axis] * spacing(frame)[axis], half = v.shape[axis] * spacing(v)[axis] / 2;
    return [middle - half, middle + half];
  };
  return [of(across), of(up)];
}

const scratch = document.createElement("canvas");

// Draw a plane with its crosshair, points and letters; return what turns pixels to points.
export function draw(canvas, look) {
  const {image: v, frame, plane, at, box, radiological: flip} = look, ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.max(1, width * ratio); canvas.height = Math.max(1, height * ratio);
  const c = canvas.getContext("2d"), [[left, right], [bottom, top]] = box;
  c.scale(ratio, ratio);
  const zoom = Math.min((width - 8) / (right - left), (height - 8) / (top - bottom));
  const middle = [(left + right) / 2, (bottom + top) / 2];
  const toX = mm => width / 2 + (mm - middle[0]) * zoom * (flip ? -1 : 1);
  const toY = mm => height / 2 - (mm - middle[1]) * zoom;
  const part = layout(v, plane, at), [[l, r], [b, t]] = extent(v, frame, plane);
  const x0 = Math.min(toX(l), toX(r)), w = (r - l) * zoom, h = (t - b) * zoom;
  if (part.inside && !look.nothing) {
    scratch.width = part.width; scratch.height = part.height;
    const s = scratch.getContext("2d"), pixels = s.createImageData(part.width, part.height);
    paint(pixels.data, part, look, flip);
    s.putImageData(pixels, 0, 0);
    c.imageSmoothingEnabled = false;
    c.drawImage(scratch, x0, toY(t), w, h);
  } else {
    c.strokeStyle = "#3a3f46"; c.strokeRect(x0, toY(t), w, h);
  }
  const size = spacing(v), place = times(v.inverse, at);
  const mm = (axis, voxel, low) => low + (voxel + 0.5) * size[axis];
  const px = toX(mm(part.across, place[part.across], l)), py = toY(mm(part.up, place[part.up], b));
  if (look.cross) {
    c.strokeStyle = "rgba(124,196,255,.55)"; c.lineWidth = 1; c.beginPath();
    c.moveTo(px, 0); c.lineTo(px, py - 7); c.moveTo(px, py + 7); c.lineTo(px, height);
    c.moveTo(0, py); c.lineTo(px - 7, py); c.moveTo(px + 7, py); c.lineTo(width, py); c.stroke();
  }
  (look.points || []).forEach((rows, n) => rows.forEach(row => {
    const voxel = times(v.inverse, row);
    if (Math.abs(voxel[part.cut] - place[part.cut]) > 1) return;
    c.beginPath(); c.arc(toX(mm(part.across, voxel[part.across], l)),
      toY(mm(part.up, voxel[part.up], b)), 4, 0, 7);
    c.fillStyle = `rgb(${COLOURS[(n + 2) % 10]})`; c.strokeStyle = "#101214"; c.lineWidth = 1.5;
    c.fill(); c.stroke();
  }));
  const [low, high] = LETTERS[part.across], [down, above] = LETTERS[part.up];
  c.font = "600 12px system-ui, sans-serif"; c.textAlign = "center"; c.textBaseline = "middle";
  for (const [text, x, y] of [[flip ? high : low, 10, height / 2], [flip ? low : high, width - 10, height / 2],
    [above, width / 2, 10], [down, width / 2, height - 10]]) {
    c.lineWidth = 3; c.strokeStyle = "#0b0c0e"; c.strokeText(text, x, y);
    c.fillStyle = "#d7dade"; c.fillText(text, x, y);
  }
  return (x, y) => {
    const voxel = [...place], across = (x - width / 2) / zoom * (flip ? -1 : 1) + middle[0];
    voxel[part.across] = (across - l) / size[part.across] - 0.5;
    voxel[part.up] = ((height / 2 - y) / zoom + middle[1] - b) / size[part.up] - 0.5;
    for (const axis of [part.across, part.up]) {
      voxel[axis] = Math.min(v.shape[axis] - 1, Math.max(0, voxel[axis]));
    }
    return times(v.affine, voxel);
  };
}

// Draw a lone plane, as of a strip: codes [up, across].
export function thumbnail(canvas, v, plane, window, kind, flip) {
  const [cut, across, up] = PLANES[plane], size = spacing(v), flat = [...v.shape];
  flat[cut] = 1;
  const height = 150, width = Math.round(height * flat[across] * size[across] / (flat[up] * size[up]));
  canvas.width = width; canvas.height = height;
  const step = [1, flat[0], flat[0] * flat[1]];
  const part = {first: 0, stepAcross: step[across], stepUp: step[up], width: flat[across], height: flat[up]};
  scratch.width = part.width; scratch.height = part.height;
  const s = scratch.getContext("2d"), pixels = s.createImageData(part.width, part.height);
  paint(pixels.data, part, {image: v, window, kind}, flip);
  s.putImageData(pixels, 0, 0);
  canvas.getContext("2d").imageSmoothingEnabled = false;
  canvas.getContext("2d").drawImage(scratch, 0, 0, width, height);
}
