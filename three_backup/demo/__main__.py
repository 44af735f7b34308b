from three_backup.demo.story import main

raise SystemExit(main())
