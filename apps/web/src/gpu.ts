/** The change, applied on the GPU by the project's kernel. */
import kernel from "../../../runtimes/apply/kernels/apply.wgsl?raw";
import { applied, type Change, type Pixels } from "./change";
import { DEFAULT, type Controls } from "./controls";

const FRAME_BYTES = 48;
const GROUP = 16; // pixels of a workgroup in each direction
const MOST_BYTES = 64 << 20; // of a strip: every device offers buffers of 128 MiB

export type Apply = (photograph: Pixels, change: Change, controls: Controls) => Promise<Pixels>;

/** The CPU's applier behind the same interface. */
export const onCpu: Apply = (photograph, change, controls) => Promise.resolve(applied(photograph, change, controls));

/** The GPU's applier; null if there is no GPU, or if its pictures differ from the CPU's. */
export async function onGpu(adapter: GPUAdapter | null): Promise<Apply | null> {
  if (!adapter) return null;
  try {
    const device = await adapter.requestDevice();
    const module = device.createShaderModule({ code: kernel });
    const pipeline = await device.createComputePipelineAsync({
      layout: "auto",
      compute: { module, entryPoint: "apply" },
    });
    const apply: Apply = (photograph, change, controls) => run(device, pipeline, photograph, change, controls);
    return (await agrees(apply)) ? apply : null;
  } catch (error) {
    console.warn("The GPU does not apply the change, so the CPU does:", error);
    return null;
  }
}

/** Whether the GPU draws what the CPU draws, within 1 code, on a picture with all kinds of change. */
async function agrees(apply: Apply): Promise<boolean> {
  const [width, height] = [61, 37];
  const data = Uint8ClampedArray.from({ length: 4 * width * height }, (_, i) => (i % 4 === 3 ? 255 : (i * 89) % 256));
  const tone = Float32Array.of(0.02, 1.1, 0.3, -0.2, 0.1, 0.2, -0.1, 0.05, 0.2, 0.03, 0.15, 1.02, 1, 0.97, 0.8, 0);
  const values = Float32Array.from({ length: 12 * 5 * 7 }, (_, i) => 0.1 * Math.sin(i));
  const change = { tone, maps: { values, width: 7, height: 5 } };
  for (const controls of [DEFAULT, { strength: 0.6, exposure: -1.3 }]) {
    const [ours, theirs] = [await apply({ data, width, height }, change, controls), applied({ data, width, height }, change, controls)];
    if (ours.data.some((code, i) => Math.abs(code - theirs.data[i]) > 1)) return false;
  }
  return true;
}

async function run(
  device: GPUDevice,
  pipeline: GPUComputePipeline,
  photograph: Pixels,
  change: Change,
  controls: Controls,
): Promise<Pixels> {
  const { width, height, data } = photograph;
  const most = Math.min(MOST_BYTES, device.limits.maxStorageBufferBindingSize);
  const strip = Math.min(height, Math.floor(most / (4 * width)));
  const buffers = {
    frame: device.createBuffer({ size: FRAME_BYTES, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST }),
    change: filled(device, changeNumbers(change)),
    photograph: device.createBuffer({ size: 4 * width * strip, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST }),
    result: device.createBuffer({ size: 4 * width * strip, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC }),
    read: device.createBuffer({ size: 4 * width * strip, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
  };
  const order = [buffers.frame, buffers.change, buffers.photograph, buffers.result];
  const entries = order.map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const result = new Uint8ClampedArray(data.length);
  try {
    for (let top = 0; top < height; top += strip) {
      const rows = Math.min(strip, height - top);
      const [start, size] = [4 * width * top, 4 * width * rows];
      device.queue.writeBuffer(buffers.frame, 0, frameBytes(photograph, change, controls, top, rows));
      device.queue.writeBuffer(buffers.photograph, 0, data, start, size);
      const commands = device.createCommandEncoder();
      const pass = commands.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(Math.ceil(width / GROUP), Math.ceil(rows / GROUP));
      pass.end();
      commands.copyBufferToBuffer(buffers.result, 0, buffers.read, 0, size);
      device.queue.submit([commands.finish()]);
      await buffers.read.mapAsync(GPUMapMode.READ, 0, size);
      result.set(new Uint8ClampedArray(buffers.read.getMappedRange(0, size)), start);
      buffers.read.unmap();
    }
  } finally {
    for (const buffer of Object.values(buffers)) buffer.destroy();
  }
  return { data: result, width, height };
}

/** The kernel's struct Frame. */
function frameBytes(photograph: Pixels, change: Change, controls: Controls, top: number, rows: number): ArrayBuffer {
  const bytes = new ArrayBuffer(FRAME_BYTES);
  const { width, height } = change.maps ?? { width: 0, height: 0 };
  new Uint32Array(bytes).set([photograph.width, photograph.height, top, rows, width, height, 0, 0]);
  new Float32Array(bytes).set([controls.strength, controls.exposure], 8);
  return bytes;
}

/** The tone, then the maps. */
function changeNumbers({ tone, maps }: Change): Float32Array {
  const numbers = new Float32Array(16 + (maps?.values.length ?? 0));
  numbers.set(tone);
  if (maps) numbers.set(maps.values, 16);
  return numbers;
}

function filled(device: GPUDevice, numbers: Float32Array): GPUBuffer {
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;
  const buffer = device.createBuffer({ size: numbers.byteLength, usage });
  device.queue.writeBuffer(buffer, 0, numbers as BufferSource);
  return buffer;
}
