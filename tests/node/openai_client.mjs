// The official OpenAI client for Node against a fake upstream: asks what it is told on the command line, prints what
// it got as one JSON line. Usage: node openai_client.mjs BASE_URL '{"mode": …, "prompt": …, "options": {…}}'
import OpenAI from 'openai';

const [baseURL, order] = process.argv.slice(2);
const { mode, prompt, body = {}, options = {} } = JSON.parse(order);
const client = new OpenAI({ baseURL, apiKey: 'sk-node', maxRetries: 0, ...options });
const chat = { model: 'gpt-4o', messages: [{ role: 'user', content: prompt }], ...body };
const seen = { text: '', chunks: 0, finish: null, error: null };

const modes = {
  async whole() {
    const reply = await client.chat.completions.create(chat);
    seen.text = reply.choices[0].message.content;
    seen.finish = reply.choices[0].finish_reason;
    seen.usage = reply.usage;
  },
  async stream() {
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
      seen.chunks += 1;
      seen.text += chunk.choices[0]?.delta?.content ?? '';
      seen.finish = chunk.choices[0]?.finish_reason ?? seen.finish;
    }
  },
  async helper() {
    const runner = client.chat.completions.stream({ ...chat, stream: true });
    runner.on('content', (delta) => { seen.text += delta; });
    const message = await runner.finalMessage();
    seen.calls = message.tool_calls;
  },
  async tools() {
    const runner = client.chat.completions.runTools({ ...chat, tools: [{
      type: 'function',
      function: {
        name: 'get_weather',
        parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
        parse: JSON.parse,
        function: ({ city }) => { seen.city = city; return options.answer ?? 'sunny'; },
      },
    }] }, { maxChatCompletions: 2 });
    seen.text = await runner.finalContent();
  },
  async responses() {
    const stream = await client.responses.create({ model: 'gpt-4o', input: prompt, stream: true, ...body });
    seen.events = [];
    for await (const event of stream) {
      seen.events.push(event.type);
      if (event.type === 'response.output_text.delta') seen.text += event.delta;
    }
  },
  async abort() {
    const stream = await client.chat.completions.create({ ...chat, stream: true });
    for await (const chunk of stream) {
      seen.chunks += 1;
      if (seen.chunks === 5) stream.controller.abort();
    }
  },
};

try {
  await modes[mode]();
} catch (error) {
  seen.error = { name: error.constructor.name, status: error.status ?? null, message: String(error.message) };
}
console.log(JSON.stringify(seen));
process.exit(0);
