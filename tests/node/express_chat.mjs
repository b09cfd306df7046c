// A chat service as an Express application writes it: asks its model by the OpenAI SDK, and hands each chunk on as an
// event. `/plain` does just that; `/compressed` has the usual compression middleware in front; `/flushed` also calls
// `res.flush()` after each event, as that middleware's own documentation asks for. Prints its port as one line of JSON.
// Usage: node express_chat.mjs BASE_URL_OF_THE_MODEL
import compression from 'compression';
import express from 'express';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'sk-express', maxRetries: 0 });

function answer({ flush }) {
  return async (request, response) => {
    response.setHeader('content-type', 'text/event-stream');
    response.setHeader('cache-control', 'no-cache');
    const stream = await client.chat.completions.create({ ...request.body, stream: true });
    for await (const chunk of stream) {
      response.write(`data: ${JSON.stringify(chunk)}\n\n`);
      if (flush) response.flush();
    }
    response.end('data: [DONE]\n\n');
  };
}

const app = express();
app.use(express.json());
app.use(['/compressed', '/flushed'], compression());
app.post('/plain', answer({ flush: false }));
app.post('/compressed', answer({ flush: false }));
app.post('/flushed', answer({ flush: true }));
const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
